"""What features are worth: evaluators on labelled shards, cached features, seeds, intervals, pictures."""
