"""Chapter: channels beside the inbox — endpoints of agencies' own systems, and webhooks to them (推送)."""
