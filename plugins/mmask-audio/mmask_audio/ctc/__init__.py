"""Connectionist temporal classification: an encoder fine-tuned, or probed, on transcribed speech."""
