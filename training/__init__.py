"""Training: audio -> features -> data set -> trained instrument -> resynthesis and its measures."""
