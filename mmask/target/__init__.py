"""The truth at scored places."""
