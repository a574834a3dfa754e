import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CliFailure } from '../cli/command/failure.ts'
import { readGgufHeader } from '../model/import/gguf-header.ts'
import { TensorFile } from '../model/import/tensor-file.ts'
import { encodeGguf, type GgufTensor } from '../test/model-files.ts'
import { randomFrom } from './random-adapter.ts'

const count = 8
const rank = 16
const alpha = 32

/**
 * `npm run bench -- loras`: eight different random LoRAs of rank 16 for every matrix of a model's layers, as llama.cpp reads
 * them: `lora0.gguf` to `lora7.gguf`.
 */
export async function writeRandomLoras({
  gguf,
  out,
}: {
  gguf?: string | undefined
  out?: string | undefined
}): Promise<boolean> {
  if (gguf === undefined || out === undefined)
    throw new CliFailure('loras needs --gguf and --out', {
      remedy: 'name the model file and the folder that the LoRAs go to',
    })
  const { architecture, matrices } = await layerMatrices(gguf)
  await mkdir(out, { recursive: true })
  for (let seed = 0; seed < count; seed++) {
    const random = randomFrom(seed)
    const tensors = matrices.flatMap(({ columns, name, rows }) => [
      randomTensor(`${name}.lora_a`, { shape: [rank, columns], largest: 0.035, random }),
      randomTensor(`${name}.lora_b`, { shape: [rows, rank], largest: 0.0035, random }),
    ])
    const metadata = {
      'general.architecture': architecture,
      'general.type': 'adapter',
      'adapter.type': 'lora',
      'adapter.lora.alpha': Float32Array.of(alpha),
    }
    await writeFile(join(out, `lora${seed}.gguf`), encodeGguf(metadata, tensors))
  }
  console.log(`${out}: ${count} LoRAs of rank ${rank} for ${matrices.length} matrices`)
  return true
}

/** W [rows, columns] of a layer. */
interface LayerMatrix {
  readonly name: string
  readonly rows: number
  readonly columns: number
}

async function layerMatrices(
  gguf: string,
): Promise<{ architecture: string; matrices: readonly LayerMatrix[] }> {
  const file = await TensorFile.open(gguf)
  try {
    const { metadata, tensorInfos } = await readGgufHeader(file)
    const matrices = tensorInfos.flatMap(({ name, shape: [columns, rows] }) =>
      name.startsWith('blk.') && columns !== undefined && rows !== undefined
        ? [{ name, rows: Number(rows), columns: Number(columns) }]
        : [],
    )
    return { architecture: String(metadata['general.architecture']), matrices }
  } finally {
    await file.close()
  }
}

function randomTensor(
  name: string,
  { shape, largest, random }: { shape: [number, number]; largest: number; random: () => number },
): GgufTensor {
  const values = Float32Array.from({ length: shape[0] * shape[1] }, () => (2 * random() - 1) * largest)
  return { name, shape, type: 0, data: new Uint8Array(values.buffer) }
}
