"""What the plugin claims, by topic. Imports nothing heavy."""
