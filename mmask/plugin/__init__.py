"""The plugin door: entry points of group ``mmask.v1``, checked in quarantine, listed, built by name.

    unseen -> blocked
           -> ready      imported, its hooks checked, its components valid
           -> broken     with the reason and the whole traceback

`spec` has every hook; `component` is what a plugin claims; `entries` finds plugins without importing them;
`quarantine` loads one; `registry` knows who claims which name; `build` makes a component from its options;
`host` keeps it all together and is made by the command line, or by the library, and handed down.
"""
