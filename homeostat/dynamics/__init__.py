"""Linear models of a plant, found in recordings: what laws and analysis share. `homeostat.analysis` has the names."""
