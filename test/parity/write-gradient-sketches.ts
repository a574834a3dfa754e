import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type FileTensor, parseSafeTensors, serializeSafeTensors } from '../../shared/safetensors.ts'
import { sketch } from './gradient-sketch.ts'

/**
 * Cuts the reference's gradients (7 MB) to sketches of every tensor: `node test/parity/write-gradient-sketches.ts
 * FOLDER`, with the reference's golden.json and grad-{kind}.safetensors in FOLDER.
 */

const from = z.string().parse(process.argv[2])
const to = join(import.meta.dirname, '../fixtures/parity')
const Golden = z.object({
  gradient: z.object({
    examples: z.array(z.object({ instruction: z.array(z.int()), response: z.array(z.int()) })),
    loss: z.record(z.string(), z.number()),
  }),
})

const { gradient } = Golden.parse(JSON.parse(await readFile(join(from, 'golden.json'), 'utf8')))
const tensors = new Map<string, FileTensor>()
for (const kind of Object.keys(gradient.loss)) {
  const file = parseSafeTensors(await readFile(join(from, `grad-${kind}.safetensors`)))
  for (const [name, { data, dtype }] of file.tensors) {
    if (dtype !== 'F32') throw new Error(`${kind} ${name} is ${dtype}`)
    const values = Float32Array.from(sketch(new Float32Array(Uint8Array.from(data).buffer)))
    tensors.set(`${kind}/${name}`, {
      dtype,
      shape: [values.length],
      data: new Uint8Array(values.buffer),
    })
  }
}
await writeFile(join(to, 'gradients.json'), `${JSON.stringify(gradient)}\n`)
await writeFile(join(to, 'gradient-sketches.safetensors'), serializeSafeTensors({ metadata: {}, tensors }))
