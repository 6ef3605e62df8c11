"""Published metrics as pure functions of summable counts.

Each module has a function that turns one batch into a float64 tensor of sums (on the batch's device, without waiting
for it) and `figures(names)`, which maps each published name to a function from those sums to a plain float. Sums of
batches, workers and shards may be added in any order, so a figure never depends on the batch size.
"""
