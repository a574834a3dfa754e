import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import { parseHeader } from '../../shared/safetensors.ts'
import { encodeGguf, type GgufTensor, ggufMetadata, importedConfig } from '../../test/model-files.ts'
import { decoderTensors } from '../architectures/decoder-tensors.ts'
import { openGguf } from './gguf.ts'
import { openSource } from './source.ts'

/** The tensor names and the metadata that llama.cpp's `gguf` Python package 0.19.0 writes for each checkpoint. */
const Written = z.record(
  z.string(),
  z.object({
    metadata: z.record(z.string(), z.union([z.string(), z.number(), z.array(z.number())])),
    /** The keys are transformers' names. */
    names: z.record(z.string(), z.string()),
    ropeFreqs: z.array(z.number()).optional(),
  }),
)
const fixtures = join(import.meta.dirname, '../../test/fixtures')
const written = Written.parse(JSON.parse(await readFile(join(fixtures, 'gguf/architectures.json'), 'utf8')))
const scratch = await mkdtemp(join(tmpdir(), 'quartet-gguf-architectures-'))
afterAll(() => rm(scratch, { recursive: true }))

/** Architectures whose q and k rows llama.cpp's converter writes in rotated pairs. */
const interleaved = ['llama', 'smollm3', 'granite']

/** `permute` of llama.cpp's convert_hf_to_gguf.py: reshape(n, 2, headDim / 2, in).swapaxes(1, 2). */
function permute(rows: readonly Uint8Array[], headDim: number): Uint8Array[] {
  const half = headDim / 2
  return rows.map((_, at) => {
    const within = at % headDim
    return rows[at - within + (within % 2) * half + (within >> 1)] ?? new Uint8Array()
  })
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
  Buffer.from(buffer, byteOffset, byteLength)

async function checkpoint(name: string) {
  const bytes = await readFile(join(fixtures, 'backbones', name, 'model.safetensors'))
  const length = Number(bytes.readBigUInt64LE(0))
  const { entries } = parseHeader(bytes.subarray(8, 8 + length), bytes.length)
  return { bytes, entries }
}

test.for(Object.entries(written))(
  'the GGUF of %s has the tensors and settings of the checkpoint that it is made of',
  async ([name, { metadata, names, ropeFreqs }]) => {
    const source = await openSource(join(fixtures, 'backbones', name))
    const { config } = source.tensors
    const architecture = String(metadata['general.architecture'])
    const { bytes, entries } = await checkpoint(name)
    const tensors = Array.from(entries, ([stored, { shape, start }]): GgufTensor => {
      const count = shape.reduce((product, n) => product * n, 1)
      // bf16 is the upper half of an f32; Gemma's norms are written as 1 + w.
      const values = new Float32Array(count)
      const bits = new DataView(values.buffer)
      for (let i = 0; i < count; i++) bits.setUint32(4 * i, bytes.readUInt16LE(start + 2 * i) << 16, true)
      const one = architecture.startsWith('gemma') && stored.endsWith('norm.weight')
      const data = new Uint8Array((one ? values.map((x) => x + 1) : values).buffer)
      const [rows = 1] = shape
      const width = data.length / rows
      const split = Array.from({ length: rows }, (_, row) => data.subarray(row * width, (row + 1) * width))
      const isTurned = interleaved.includes(architecture) && /\.[qk]_proj\./.test(stored)
      return {
        name: names[stored] ?? stored,
        shape,
        type: 0,
        data: isTurned ? Buffer.concat(permute(split, config.headDim)) : data,
      }
    })
    if (ropeFreqs !== undefined)
      tensors.push({
        name: 'rope_freqs.weight',
        shape: [ropeFreqs.length],
        type: 0,
        data: new Uint8Array(Float32Array.from(ropeFreqs).buffer),
      })
    const vocabulary = Object.entries(ggufMetadata(importedConfig)).filter(([key]) =>
      key.startsWith('tokenizer.'),
    )
    const tokens = Array.from({ length: config.vocab }, (_, id) => `token ${id}`)
    const path = join(scratch, `${name}.gguf`)
    await writeFile(
      path,
      encodeGguf(
        { ...Object.fromEntries(vocabulary), 'tokenizer.ggml.tokens': tokens, ...metadata },
        tensors,
      ),
    )
    const model = await openGguf(path)
    try {
      for (const tensor of decoderTensors(config).keys())
        expect(
          bytesOf(await model.read(tensor)).equals(bytesOf(await source.tensors.read(tensor))),
          tensor,
        ).toBe(true)
      // GGUF states no scale of Gemma's scores: it is the head size's, as in every model that was published.
      const { rmsEps, rotary, residualScale, attentionScale, ...exact } = config
      expect(model.config).toMatchObject(exact)
      expect(model.config.rmsEps).toBeCloseTo(rmsEps, 9)
      if (residualScale !== undefined) expect(model.config.residualScale).toBeCloseTo(residualScale, 6)
      if (attentionScale !== undefined && !architecture.startsWith('gemma'))
        expect(model.config.attentionScale).toBeCloseTo(attentionScale, 6)
      for (const [at, { theta, factors }] of rotary.entries()) {
        expect(model.config.rotary[at]?.theta).toBe(theta)
        for (const [pair, factor] of (factors ?? []).entries())
          expect(model.config.rotary[at]?.factors?.[pair]).toBeCloseTo(factor, 5)
      }
    } finally {
      await model.close()
      await source.close()
    }
  },
)
