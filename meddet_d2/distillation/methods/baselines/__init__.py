"""The methods that MedDet and FSF-LD are compared with."""
