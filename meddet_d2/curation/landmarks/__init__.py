"""Public sets of landmarks as data sets of this project; meddet prepare landmarks is their command. No torch."""
