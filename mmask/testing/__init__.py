"""The conformance kit that plugins test themselves with."""
