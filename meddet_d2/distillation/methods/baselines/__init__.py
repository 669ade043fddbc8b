"""The methods that MedDet is compared with."""
