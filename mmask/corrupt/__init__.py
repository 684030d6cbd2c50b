"""corrupt"""
