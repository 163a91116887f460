"""medmiss: brain tumour segmentation when MRI modalities are missing."""

__version__ = "0.1.0"
