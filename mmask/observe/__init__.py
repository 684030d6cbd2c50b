"""What a run shows: progress, metrics, pictures, the report page."""
