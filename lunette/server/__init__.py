"""The reference server of `openapi.yaml`; needs the extra `lunette-sandbox[server]`."""
