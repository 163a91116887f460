"""The MONAI bundles that ship with medmiss: one folder each, found by `medmiss.inference.bundle`."""
