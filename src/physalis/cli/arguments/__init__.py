"""arguments: how the command line is read: amounts, options, settings, and the sentence for what cannot be."""
