"""The web page: a server for the local network, and who may see what it shows. It knows nothing of clusters."""
