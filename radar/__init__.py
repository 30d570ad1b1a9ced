"""RADAR-bench: image anomaly detection with diffusion models, compared on the same terms."""

__version__ = "0.1.0"
