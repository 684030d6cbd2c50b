"""LXMERT: words and objects in two streams that meet (Tan and Bansal 2019)."""
