"""FSF-LD: landmarks by a tiny network that shares the features of a large one."""
