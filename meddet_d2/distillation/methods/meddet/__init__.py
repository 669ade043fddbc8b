"""MedDet: three teachers, aligned and fused, and an adversary."""
