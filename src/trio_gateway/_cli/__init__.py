"""What the commands of `trio-gateway` do, once `trio_gateway_command` has read what they are to do."""
