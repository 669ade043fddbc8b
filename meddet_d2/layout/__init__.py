"""What a data set on disk is: its json files, its patients, its levels, and the checks of all of them."""
