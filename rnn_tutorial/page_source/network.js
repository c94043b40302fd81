"use strict";
// A trained network, computed step by step from the weights of its checkpoint, as PyTorch does.

// Weights are float32, as base64; everything is computed in float64.
function decode(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return Float64Array.from(new Float32Array(bytes.buffer));
}

// bias + matrix · vector, where the matrix lies row by row.
function affine(matrix, vector, bias) {
  const result = Float64Array.from(bias);
  for (let row = 0, place = 0; row < result.length; row++) {
    for (let column = 0; column < vector.length; column++) {
      result[row] += matrix[place++] * vector[column];
    }
  }
  return result;
}

const sigmoid = (value) => 1 / (1 + Math.exp(-value));

// One step of each cell. `input` and `before` are W_ih x + b_ih and W_hh h + b_hh, as long as the
// gates together, in PyTorch's order; h and c are the state before. Each returns the state after.
const CELLS = {
  rnn(input, before, { h }) {
    return { h: h.map((_, i) => Math.tanh(input[i] + before[i])) };
  },
  relu(input, before, { h }) {
    // It has no bound: float32 overflows, as it does in PyTorch.
    return { h: h.map((_, i) => Math.fround(Math.max(0, input[i] + before[i]))) };
  },
  gru(input, before, { h }) {
    const size = h.length;
    return {
      h: h.map((old, i) => {
        const reset = sigmoid(input[i] + before[i]);
        const keep = sigmoid(input[i + size] + before[i + size]);
        const fresh = Math.tanh(input[i + 2 * size] + reset * before[i + 2 * size]);
        return (1 - keep) * fresh + keep * old;
      }),
    };
  },
  lstm(input, before, { h, c }) {
    const size = h.length;
    const gate = (number, i) => input[i + number * size] + before[i + number * size];
    const cell = c.map(
      (old, i) => sigmoid(gate(1, i)) * old + sigmoid(gate(0, i)) * Math.tanh(gate(2, i)),
    );
    return { h: cell.map((value, i) => sigmoid(gate(3, i)) * Math.tanh(value)), c: cell };
  },
};

class Network {
  constructor({ cell, num_layers, hidden_dim, embed_dim, weights }) {
    this.step = CELLS[cell];
    this.size = hidden_dim;
    this.embedDim = embed_dim;
    this.weights = Object.fromEntries(
      Object.entries(weights).map(([name, text]) => [name, decode(text)]),
    );
    this.layers = Array.from({ length: num_layers }, (_, layer) =>
      ["weight_ih", "bias_ih", "weight_hh", "bias_hh"].map(
        (name) => this.weights[`rnn.${name}_l${layer}`],
      ),
    );
  }

  // The state before the first token: zeros in every layer, from the lowest up.
  start() {
    return this.layers.map(() => ({
      h: new Float64Array(this.size),
      c: new Float64Array(this.size),
    }));
  }

  embedding(token) {
    return this.weights["embedding.weight"].subarray(
      token * this.embedDim,
      (token + 1) * this.embedDim,
    );
  }

  advance(state, token) {
    let input = this.embedding(token);
    return this.layers.map(([weightIn, biasIn, weight, bias], layer) => {
      const after = this.step(
        affine(weightIn, input, biasIn),
        affine(weight, state[layer].h, bias),
        state[layer],
      );
      input = after.h;
      return after;
    });
  }

  scores(state) {
    return affine(this.weights["fc.weight"], state.at(-1).h, this.weights["fc.bias"]);
  }

  // The class that the network answers after a sequence of token ids.
  answer(tokens) {
    const scores = this.scores(tokens.reduce((state, token) => this.advance(state, token), this.start()));
    return scores.indexOf(Math.max(...scores));
  }
}
