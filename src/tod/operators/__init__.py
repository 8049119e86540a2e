"""Operators (μ, A): how candidates are made, and what is done with them.

An update gives every token t a *credit*, and its gradient is Σ_t credit_t·∇log π_θ(y_t). Arrays go
in and arrays come out; no function here knows a model. For a policy gradient

    credit = aggregation × gate(trust region) × ρ(level) × advantage (+ pull)

and a named method is a choice of these. PPO's clip on the mean over two tokens, for example:

>>> import numpy as np
>>> log_rho = np.log([1.5, 0.9])  # log π_θ/π_old of two tokens, nats
>>> advantage = np.array([1.0, -1.0])
>>> region = Clip(low=0.2, high=0.2)
>>> gate = region.gate(log_rho, advantage)  # 0 where a step would leave the band further
>>> credit = gate * np.exp(log_rho) * advantage / 2
>>> credit
array([ 0.  , -0.45])
>>> float(region.surrogate(log_rho, advantage).mean().round(9))  # the paper's objective
0.15

The credit is the derivative of that objective in log π_θ; a test holds this for every region. One
file an idea:

    policy_gradient       the rule above
    trust_regions         gates, and the level at which ρ = π_θ/π_old is compared
    advantages            baselines by candidate; returns and GAE by token
    aggregation           how losses of tokens add up
    pulls, corrections    KL terms towards the anchors; weights of another engine's tokens
    preference, listwise  DPO and its family, KTO; softmax over a context's candidates
    weighted_regression   SFT, AWR, MPO, rejection-sampling fine-tuning
    selection             test time: best of K, resampling, rejection, votes
    sequential            test time: weights of unfinished answers, resampling between them
    distillation          divergences over the vocabulary
    proposals             μ: where candidates come from
    batch, operator       what a rule sees and returns; the pair (μ, A)
"""

from tod.operators.advantages import *
from tod.operators.aggregation import *
from tod.operators.batch import *
from tod.operators.corrections import *
from tod.operators.distillation import *
from tod.operators.listwise import *
from tod.operators.operator import *
from tod.operators.policy_gradient import *
from tod.operators.preference import *
from tod.operators.proposals import *
from tod.operators.pulls import *
from tod.operators.selection import *
from tod.operators.sequential import *
from tod.operators.trust_regions import *
from tod.operators.weighted_regression import *
