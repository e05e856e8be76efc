"""Why a gateway can't be used."""
