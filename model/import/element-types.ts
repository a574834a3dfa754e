import { float16ToNumber } from './float16.ts'

/** How a file stores numbers: blocks of `elements` numbers in `bytes` bytes. */
export interface BlockFormat {
  readonly elements: number
  readonly bytes: number
  /** Decodes `count` whole blocks from the start of `from` to the start of `to`. */
  decode(blocks: Blocks): void
}

interface Blocks {
  readonly from: DataView
  readonly count: number
  readonly to: Float32Array
}

type BlockDecoder = (view: DataView, at: number, to: Float32Array, out: number) => void

function blocks(elements: number, bytes: number, decodeBlock: BlockDecoder): BlockFormat {
  return {
    elements,
    bytes,
    decode({ from, count, to }) {
      for (let block = 0; block < count; block++) decodeBlock(from, block * bytes, to, block * elements)
    },
  }
}

const half = (view: DataView, at: number) => float16ToNumber(view.getUint16(at, true))

export const f32 = blocks(1, 4, (view, at, to, out) => {
  to[out] = view.getFloat32(at, true)
})

export const f16 = blocks(1, 2, (view, at, to, out) => {
  to[out] = half(view, at)
})

const bits = new DataView(new ArrayBuffer(4))
export const bf16 = blocks(1, 2, (view, at, to, out) => {
  bits.setUint32(0, view.getUint16(at, true) << 16)
  to[out] = bits.getFloat32(0)
})

/** Scale and minimum of sub-block `j` of a K-quant's 12 packed bytes, six bits each. */
function scaleAndMin(view: DataView, at: number, j: number): [scale: number, min: number] {
  const byte = (k: number) => view.getUint8(at + k)
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63]
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)]
}

/** Where number `i` of a K-quant with two-bit quants lies: half of the block, which two bits, and place in the half. */
const threeParts = (i: number) => ({ group: i >> 7, pair: (i >> 5) & 3, j: i & 31 })

/** `kvalues_iq4nl` of ggml-common.h. */
const nonLinear = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

/** Twice the numbers of the four-bit float E2M1. */
const doubledE2m1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

/**
 * Block formats of GGUF tensors by name, as ggml-quants.c of llama.cpp defines them
 * (`dequantize_row_*`). A new format is one row.
 */
export const ggmlTypes: Readonly<Record<string, BlockFormat>> = {
  F32: f32,
  F16: f16,
  BF16: bf16,

  Q4_0: blocks(32, 18, (view, at, to, out) => {
    const scale = half(view, at)
    for (let j = 0; j < 16; j++) {
      const pair = view.getUint8(at + 2 + j)
      to[out + j] = ((pair & 15) - 8) * scale
      to[out + j + 16] = ((pair >> 4) - 8) * scale
    }
  }),

  Q4_1: blocks(32, 20, (view, at, to, out) => {
    const scale = half(view, at)
    const min = half(view, at + 2)
    for (let j = 0; j < 16; j++) {
      const pair = view.getUint8(at + 4 + j)
      to[out + j] = (pair & 15) * scale + min
      to[out + j + 16] = (pair >> 4) * scale + min
    }
  }),

  Q5_0: blocks(32, 22, (view, at, to, out) => {
    const scale = half(view, at)
    const fifth = view.getUint32(at + 2, true)
    for (let j = 0; j < 16; j++) {
      const pair = view.getUint8(at + 6 + j)
      to[out + j] = (((pair & 15) | (((fifth >>> j) & 1) << 4)) - 16) * scale
      to[out + j + 16] = (((pair >> 4) | (((fifth >>> (j + 16)) & 1) << 4)) - 16) * scale
    }
  }),

  Q5_1: blocks(32, 24, (view, at, to, out) => {
    const scale = half(view, at)
    const min = half(view, at + 2)
    const fifth = view.getUint32(at + 4, true)
    for (let j = 0; j < 16; j++) {
      const pair = view.getUint8(at + 8 + j)
      to[out + j] = ((pair & 15) | (((fifth >>> j) & 1) << 4)) * scale + min
      to[out + j + 16] = ((pair >> 4) | (((fifth >>> (j + 16)) & 1) << 4)) * scale + min
    }
  }),

  Q8_0: blocks(32, 34, (view, at, to, out) => {
    const scale = half(view, at)
    for (let j = 0; j < 32; j++) to[out + j] = view.getInt8(at + 2 + j) * scale
  }),

  Q4_K: blocks(256, 144, (view, at, to, out) => {
    const scale = half(view, at)
    const minScale = half(view, at + 2)
    for (let sub = 0; sub < 8; sub++) {
      const [s, m] = scaleAndMin(view, at + 4, sub)
      const shift = (sub & 1) * 4
      for (let j = 0; j < 32; j++) {
        const quant = (view.getUint8(at + 16 + (sub >> 1) * 32 + j) >> shift) & 15
        to[out + sub * 32 + j] = scale * s * quant - minScale * m
      }
    }
  }),

  Q5_K: blocks(256, 176, (view, at, to, out) => {
    const scale = half(view, at)
    const minScale = half(view, at + 2)
    for (let sub = 0; sub < 8; sub++) {
      const [s, m] = scaleAndMin(view, at + 4, sub)
      const shift = (sub & 1) * 4
      for (let j = 0; j < 32; j++) {
        const low = (view.getUint8(at + 48 + (sub >> 1) * 32 + j) >> shift) & 15
        const fifth = (view.getUint8(at + 16 + j) >> sub) & 1
        to[out + sub * 32 + j] = scale * s * (low | (fifth << 4)) - minScale * m
      }
    }
  }),

  Q6_K: blocks(256, 210, (view, at, to, out) => {
    const scale = half(view, at + 208)
    for (let i = 0; i < 256; i++) {
      const group = i >> 7
      const quarter = (i >> 5) & 3
      const j = i & 31
      const low = view.getUint8(at + group * 64 + (quarter & 1) * 32 + j)
      const high = view.getUint8(at + 128 + group * 32 + j)
      const quant = ((low >> ((quarter >> 1) * 4)) & 15) | (((high >> (quarter * 2)) & 3) << 4)
      to[out + i] = scale * view.getInt8(at + 192 + (i >> 4)) * (quant - 32)
    }
  }),

  Q2_K: blocks(256, 84, (view, at, to, out) => {
    const scale = half(view, at + 80)
    const minScale = half(view, at + 82)
    for (let i = 0; i < 256; i++) {
      const { group, pair, j } = threeParts(i)
      const packed = view.getUint8(at + (i >> 4))
      const quant = (view.getUint8(at + 16 + group * 32 + j) >> (2 * pair)) & 3
      to[out + i] = scale * (packed & 15) * quant - minScale * (packed >> 4)
    }
  }),

  Q3_K: blocks(256, 110, (view, at, to, out) => {
    const scale = half(view, at + 108)
    for (let i = 0; i < 256; i++) {
      const { group, pair, j } = threeParts(i)
      const sub = i >> 4
      const low = (view.getUint8(at + 96 + (sub & 7)) >> (sub < 8 ? 0 : 4)) & 15
      const high = (view.getUint8(at + 104 + (sub & 3)) >> (2 * (sub >> 2))) & 3
      const third = (view.getUint8(at + j) >> (group * 4 + pair)) & 1
      const quant = ((view.getUint8(at + 32 + group * 32 + j) >> (2 * pair)) & 3) - (third ? 0 : 4)
      to[out + i] = scale * ((low | (high << 4)) - 32) * quant
    }
  }),

  IQ4_NL: blocks(32, 18, (view, at, to, out) => {
    const scale = half(view, at)
    for (let j = 0; j < 16; j++) {
      const pair = view.getUint8(at + 2 + j)
      to[out + j] = scale * (nonLinear[pair & 15] ?? 0)
      to[out + j + 16] = scale * (nonLinear[pair >> 4] ?? 0)
    }
  }),

  IQ4_XS: blocks(256, 136, (view, at, to, out) => {
    const scale = half(view, at)
    const highs = view.getUint16(at + 2, true)
    for (let sub = 0; sub < 8; sub++) {
      const low = (view.getUint8(at + 4 + (sub >> 1)) >> (4 * (sub & 1))) & 15
      const s = (low | (((highs >> (2 * sub)) & 3) << 4)) - 32
      for (let j = 0; j < 16; j++) {
        const pair = view.getUint8(at + 8 + sub * 16 + j)
        to[out + sub * 32 + j] = scale * s * (nonLinear[pair & 15] ?? 0)
        to[out + sub * 32 + j + 16] = scale * s * (nonLinear[pair >> 4] ?? 0)
      }
    }
  }),

  // https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf
  MXFP4: blocks(32, 17, (view, at, to, out) => {
    const exponent = view.getUint8(at)
    // The values are twice what the format says, so that they are whole. 255 is the format's NaN.
    const scale = exponent === 255 ? Number.NaN : 2 ** (exponent - 128)
    for (let j = 0; j < 16; j++) {
      const pair = view.getUint8(at + 1 + j)
      to[out + j] = scale * (doubledE2m1[pair & 15] ?? 0)
      to[out + j + 16] = scale * (doubledE2m1[pair >> 4] ?? 0)
    }
  }),
}

/** Names of `ggml_type` by number (ggml.h); those that ggml has removed are missing. */
const ggmlTypeNames: Readonly<Record<number, string>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  30: 'BF16',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
}

export function ggmlTypeName(type: number): string {
  return ggmlTypeNames[type] ?? `number ${type}`
}
