"""From the cube to tensors: records, splits, gaps, scaling, batches."""
