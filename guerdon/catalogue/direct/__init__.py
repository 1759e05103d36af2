"""Direct alignment: preference objectives without sampling."""
