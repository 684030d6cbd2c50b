"""The door for plugins: claims, hooks, the host that loads and fences them."""
