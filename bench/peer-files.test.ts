import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { writeGguf } from '../test/model-files.ts'
import { fourBitFiles, heldAgainst, peerModels } from './own-backbones.ts'
import { firstLoras, peerFiles } from './peer-files.ts'
import { type OwnWeights, peerWeights } from './peer-weights.ts'

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-peer-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

async function fileOfType(type: number): Promise<string> {
  const gguf = join(await newFolder(), 'model.gguf')
  await writeGguf(gguf, { metadata: { 'general.file_type': type } })
  return gguf
}

it('several files are named with commas between them, and LoRAs are taken by name', async () => {
  const folder = await newFolder()
  const [a, b] = [join(folder, 'a.gguf'), join(folder, 'b.gguf')]
  for (const file of [b, a, join(folder, 'notes.txt')]) await writeFile(file, '')
  const files = peerFiles({ peer: 'bin', gguf: `${a},${b}`, loras: folder, rounds: '5' })
  expect(files).toEqual({ folder: 'bin', ggufs: [a, b], loras: [a, b], rounds: 5 })
  expect(firstLoras(files?.loras ?? [], 1)).toEqual([a])
  expect(() => firstLoras(files?.loras ?? [], 8)).toThrow('--loras has 2 files in GGUF, and 8 are needed')
})

it('nothing is compared where no option names the peer, and a part of its options is refused', () => {
  expect(peerFiles({})).toBeUndefined()
  const apart = '--loras and --rounds need --peer and --gguf, which belong together'
  for (const options of [{ peer: 'bin' }, { gguf: 'a.gguf' }, { loras: 'loras' }, { rounds: '2' }])
    expect(() => peerFiles(options)).toThrow(apart)
  const [peer, gguf] = ['bin', import.meta.filename]
  expect(() => peerFiles({ peer, gguf: `${gguf},` })).toThrow('--gguf names no file: (nothing)')
  expect(() => peerFiles({ peer, gguf, loras: '/nowhere' })).toThrow('there is no folder /nowhere')
  for (const rounds of ['0', '1.5', 'many', ''])
    expect(() => peerFiles({ peer, gguf, rounds })).toThrow(`--rounds is not a number of rounds: ${rounds}`)
})

it.each([
  [2, { name: 'Q4_0', inFourBits: 'q4 of Q4_0', asGood: ['q4 of Q4_0', 'q4 of Q4_1', 'q8'] }],
  [3, { name: 'Q4_1', inFourBits: 'q4 of Q4_1', asGood: ['q4 of Q4_1', 'q8'] }],
  [7, { name: 'Q8_0', asGood: ['q4 of Q4_1', 'q8'] }],
  [1, { name: 'file type 1', asGood: [] }],
])(
  'a file of type %i is held against weights that read a text as well, and no others',
  async (type, weights) => {
    const gguf = await fileOfType(type)
    expect(await peerWeights(gguf)).toEqual(weights)
  },
)

it('each file in 4 bits is held against its own weights, and one in 8 against those that read a text as well', async () => {
  const [q4_0, q4_1, q8_0, other] = await Promise.all([2, 3, 7, 1].map(fileOfType))
  const ggufs = [q4_0, q4_1, q8_0, other].filter((file) => file !== undefined)
  const models = await peerModels(ggufs)
  const fourBits = fourBitFiles(models)
  expect(fourBits).toEqual(
    new Map([
      ['q4 of Q4_0', q4_0],
      ['q4 of Q4_1', q4_1],
    ]),
  )
  const held = (...own: OwnWeights[]) => models.map((model) => heldAgainst(model, own))
  expect(held(...fourBits.keys(), 'q8')).toEqual(['q4 of Q4_0', 'q4 of Q4_1', 'q4 of Q4_1', undefined])
  // Weights that read a text worse than the file are not held against it.
  expect(held('q4 of Q4_0')).toEqual(['q4 of Q4_0', undefined, undefined, undefined])
  expect(held('q8')).toEqual(['q8', 'q8', 'q8', undefined])
})
