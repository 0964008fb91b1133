"""comparison: the pages of two dictionaries held against each other, and of a tree of features."""
