"""Draws flow_map.png: what nmODE^2 does to its input, and how steeply, for several t_end.

python docs/pictures/flow_map.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import meddet_d2  # noqa: F401  finds the engine
from meddet_d2.modeling.nmode.flow_map import flow_map, flow_table

gamma = torch.linspace(-torch.pi, torch.pi, 4001, dtype=torch.float64).requires_grad_()
figure, (values, slopes) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for shade, t_end in zip(plt.cm.viridis([0.85, 0.65, 0.45, 0.25, 0.05]), (0.25, 0.5, 1.0, 2.0, 5.0), strict=True):
    phi = flow_map(gamma, flow_table("nmode2", t_end, torch.float64))
    (slope,) = torch.autograd.grad(phi.sum(), gamma)
    style = {"color": shade, "label": f"t_end = {t_end:g}", "linewidth": 2.4 if t_end == 1 else 1.2}
    values.plot(gamma.detach(), phi.detach(), **style)
    slopes.plot(gamma.detach(), slope, **style)
values.set_title("φ(γ) = y(t_end) of nmODE², from y(0) = 0")
slopes.set_title("its slope φ′(γ)")
slopes.set_yscale("symlog", linthresh=2)
slopes.set_yticks([-1, 0, 1, 2, 5, 10, 20], ["−1", "0", "1", "2", "5", "10", "20"])
slopes.set_ylim(-1.6, 22)
slopes.minorticks_off()
for axes in (values, slopes):
    axes.set_xticks([-torch.pi, -torch.pi / 2, 0, torch.pi / 2, torch.pi], ["−π", "−π/2", "0", "π/2", "π"])
    axes.set_xlabel("γ = w x + b")
    axes.grid(alpha=0.25)
slopes.legend(loc="upper center", fontsize=8)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)
