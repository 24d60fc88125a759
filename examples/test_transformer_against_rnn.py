"""A transformer block against a recurrent network over the same sequence: a parallel against a sequential architecture.

The recurrent network (an LSTM) reads one token after the other, and each step needs the result of the one before. The
transformer block looks at all tokens at once. For that it computes more: with WIDTH = 128, the LSTM takes 16 x 128²
operations per token, the block 24 x 128², and besides 4 x 128 for each pair of tokens, which grows with the square of
the length. So on a CPU the LSTM is usually the faster one, the more the longer the sequence. On a GPU it is the other
way round.

Where the limits come from: arithmetic with data sheets, never measured. A step of the LSTM is at least one kernel,
which begins when the one before has ended: 2.5 to 5 µs each, so 512 steps take 1.3 to 2.6 ms on any GPU. The block is
about 20 kernels for any length, started from Python every 10 µs: 0.2 ms. Its 0.7 GFLOP take a T4 (8.1 TFLOP/s) another
0.1 ms, an H200 (67 TFLOP/s) 0.01 ms, and a CPU with 200 GFLOP/s 3.4 ms. So the block wins at least fourfold over the
LSTM, and about tenfold over that CPU, threefold over one of the five times as fast ones that H200s are built in. The
limits are half of that or less. At 32 tokens both take about 0.2 ms, and which of them is faster, nobody can promise.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

SEQUENCES, WIDTH, HEADS = 2, 128, 4
SHORT, LONG = 32, 512


def block():
    return torch.nn.TransformerEncoderLayer(WIDTH, HEADS, dim_feedforward=4 * WIDTH, dropout=0.0, batch_first=True)


def rnn():
    return torch.nn.LSTM(WIDTH, WIDTH, batch_first=True)


def prepared(model_of, length, device):
    """Return a model and its input, made on the host from a fixed seed, so that both devices get the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, sequences = model_of().eval(), torch.randn(SEQUENCES, length, WIDTH)
    return model.to(device), sequences.to(device)


@torch.inference_mode()
def answer(model, sequences):
    output = model(sequences)
    return output[0] if isinstance(output, tuple) else output  # the LSTM also returns its state


def reading_with_a_block(device, length):
    model, sequences = prepared(block, length, device)
    return lambda: answer(model, sequences)


def reading_with_an_rnn(device, length):
    model, sequences = prepared(rnn, length, device)
    return lambda: answer(model, sequences)


# Two profiles in one test, so that both have a row of their own, and their speedups can be compared. Beside them, the
# block has the LSTM as its reference=: both on the GPU, side by side. The tolerance leaves room for TF32, in which the
# LSTM computes on recent NVIDIA GPUs by default.
@pytest.mark.gpu_profile(check={"rtol": 1e-2, "atol": 1e-2}, metrics=("time",))
@pytest.mark.parametrize(
    "length",
    [
        pytest.param(
            SHORT,
            marks=pytest.mark.gpu_budget(
                min_speedup_over_reference=1, enforce=False, profile="block", reason="few steps are soon done"
            ),
        ),
        pytest.param(
            LONG,
            marks=[
                pytest.mark.gpu_budget(min_speedup_over_reference=2, profile="block"),
                pytest.mark.gpu_budget(min_speedup={"H200": 1.5, "T4": 3, "*": 1.2}, profile="block"),
            ],
        ),
    ],
)
def test_over_sequence_length(gpu_profile, length):
    sizes = {"items": SEQUENCES * length, "params": {"length": length}}
    gpu_profile(reading_with_a_block, reference=reading_with_an_rnn, name="block", **sizes)
    gpu_profile(reading_with_an_rnn, name="rnn", **sizes)


@pytest.mark.parametrize(("model_of", "sees_later_tokens"), [(block, True), (rnn, False)])
def test_what_a_token_sees(model_of, sees_later_tokens):
    """They are not the same function: in the LSTM, a token sees those before it; in the block, it sees all of them."""
    model, sequences = prepared(model_of, SHORT, "cpu")
    before = answer(model, sequences)
    sequences[:, -1] += 1
    assert torch.equal(before[:, 0], answer(model, sequences)[:, 0]) is not sees_later_tokens
