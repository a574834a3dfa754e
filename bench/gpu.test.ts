import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { describeFailure } from '../cli/command/failure.ts'
import { decoderTensors } from '../model/architectures/decoder-tensors.ts'
import { tinyBackbone } from '../test/parity/tiny-backbone.ts'
import { benchGpu } from './gpu.ts'
import { onCpu } from './gpu-backbone.ts'
import { Clock } from './gpu-clock.ts'
import { tinyBounds } from './gpu-numerics.ts'
import { measureDevice } from './gpu-parts.ts'
import { smolLmShape } from './gpu-random-backbones.ts'
import { GpuRun } from './gpu-run.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

const Results = z.object({
  state: z.string(),
  environment: z.record(z.string(), z.string()),
  figures: z.array(
    z.object({
      name: z.string(),
      value: z.number().optional(),
      leftOut: z.string().optional(),
      note: z.string().optional(),
      failure: z.object({ code: z.string(), message: z.string(), doing: z.string() }).optional(),
    }),
  ),
})

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

/** Reads the results file, and holds the run to leaving no other file beside it. */
async function resultsIn(out: string): Promise<z.infer<typeof Results>> {
  expect(await readdir(dirname(out))).toEqual(['results.json'])
  return Results.parse(JSON.parse(await readFile(out, 'utf8')))
}

function started(options: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return spawn(process.execPath, [main, 'gpu', ...options], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
}

test('a part that throws becomes a figure that failed, and those behind it are measured', async () => {
  const small = await tinyBackbone()
  onTestFinished(() => rm(dirname(small.folder), { recursive: true }))
  const out = join(await scratch(), 'results.json')
  const run = new GpuRun({ clock: new Clock(60), out })
  const isGood = await measureDevice(run, {
    on: onCpu,
    name: 'tiny',
    backbone: async () => small,
    bounds: tinyBounds,
    // The backend has room for a batch of 128.
    sizes: {
      architectures: ['llama-bias'],
      batches: [129, 2],
      steps: 6,
      adapterCounts: [0, 1, 4],
      prompts: [64],
    },
  })
  expect(isGood).toBe(false)
  const { environment, figures, state } = await resultsIn(out)
  expect(state).toBe('complete')
  expect(environment).toMatchObject({ device: 'cpu', node: process.version })
  const failed = figures.filter(({ failure }) => failure !== undefined)
  expect(failed).toEqual(
    ['0 adapters', '1 adapter', '4 adapters'].map((adapters) => ({
      name: `decode, batch 129, ${adapters}`,
      failure: {
        code: 'Error',
        message: expect.stringContaining('no room'),
        doing: `decode, batch 129, ${adapters}`,
      },
    })),
  )
  const measured = figures.flatMap(({ name, value }) => (value === undefined ? [] : [name]))
  for (const name of [
    'largest difference of a logit from the CPU’s, llama-bias',
    'largest difference that a sequence of NaN makes to its neighbours’ logits',
    'decode, batch 2, 0 adapters',
    'decode, batch 2, 1 adapter / none',
    'decode, batch 2, none of 4 loaded / none loaded',
    'prefill of 64 tokens',
    'memory of the process',
  ])
    expect(measured).toContain(name)
  expect(figures.find(({ name }) => name === 'decode, batch 2, 4 adapters')?.note).toBe(
    '4 of 4 took part, in 3 rounds',
  )
})

test('a run whose time is over ends with what it found, and says of each part that it was left out', async () => {
  const out = join(await scratch(), 'results.json')
  const child = started(['--device', 'cpu', '--tiny', '--minutes', '1e-6', '--out', out])
  await Promise.all([text(child.stdout), once(child, 'close')])
  const { figures, state } = await resultsIn(out)
  expect(state).toBe('complete')
  expect(figures.length).toBeGreaterThan(0)
  for (const { leftOut } of figures) expect(leftOut).toMatch(/no time|does not start/)
})

test.each([
  [
    { device: 'cpu', tiny: true, out: '/nowhere/results.json' },
    /cannot write \/nowhere\/results\.json.*give --out/,
  ],
  [{ device: 'cpu', tiny: true, random: true }, /--random and --tiny are two backbones.*one of them/],
  [{ device: 'cpu', tiny: true, minutes: '0' }, /--minutes is no number above 0.*: 0; give/],
  [
    { device: 'cuda', tiny: true, 'cache-type': 'f32' },
    /--cache-type f32 is not for --device cuda.*f16 or int8/,
  ],
])('options that cannot be met are named before anything is measured: %j', async (options, message) => {
  const said = vi.spyOn(console, 'log')
  onTestFinished(() => said.mockRestore())
  const refused = await benchGpu(options).catch(describeFailure)
  expect(refused).toMatch(message)
  expect(said).not.toHaveBeenCalled()
})

test('where the device does not start, the file says so beside what the machine is, and the exit code tells', async () => {
  const folder = await scratch()
  const out = join(folder, 'results.json')
  const cache = await scratch()
  const child = started(['--device', 'cuda', '--tiny', '--out', out], { QUARTET_CACHE: cache })
  const [printed] = await Promise.all([text(child.stdout), once(child, 'close')])
  expect(child.exitCode).toBe(1)
  const { environment, figures, state } = await resultsIn(out)
  expect(state).toBe('complete')
  expect(environment).toMatchObject({ device: 'cuda', cuda: expect.any(String) })
  expect(figures).toEqual([
    {
      name: 'starting cuda',
      failure: {
        code: 'node_unavailable',
        message: expect.stringContaining('quartet node setup cuda'),
        doing: 'starting cuda',
      },
    },
    { name: 'everything else', leftOut: 'cuda does not start' },
  ])
  expect(printed).toContain('gpu: tiny on cuda\n┌')
})

test('a run that a signal ends has what it found in the file and the table', async () => {
  const out = join(await scratch(), 'results.json')
  const temporary = await scratch()
  const child = started(['--device', 'cpu', '--tiny', '--out', out], { TMPDIR: temporary })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    printed += piece
    if (printed.includes('the CPU’s logits')) child.kill('SIGTERM')
  })
  await once(child, 'close')
  expect(child.exitCode).toBe(128 + 15)
  const { figures, state } = await resultsIn(out)
  expect(state).toBe('cut off')
  expect(figures.map(({ name }) => name)).toContain('numbers that come back from the device as others')
  expect(figures.at(-1)).toMatchObject({
    name: expect.stringContaining('numerics: a tiny llama-bias'),
    failure: { code: 'interrupted', message: expect.stringContaining('SIGTERM') },
  })
  expect(printed).toContain('gpu: tiny on cpu\n┌')
  // ONNX Runtime's own files stay.
  expect((await readdir(temporary)).filter((name) => name.startsWith('quartet'))).toEqual([])
})

test('--random has the shape of SmolLM2-135M', () => {
  const weights = [...decoderTensors(smolLmShape).values()].map((shape) => shape.reduce((a, b) => a * b, 1))
  // As its model card and its safetensors file have them.
  expect(weights.reduce((a, b) => a + b, 0)).toBe(134_515_008)
})
