"""Why a gateway can't be used, found step by step."""
