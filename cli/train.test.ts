import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openBackbone } from '../model/backbone/backbone-folder.ts'
import { openCache } from '../model/backbone/cache.ts'
import { importBackbone } from '../model/import/import.ts'
import { parseAdapterFile } from '../shared/adapter-file.ts'
import { writeGguf } from '../test/model-files.ts'
import { describeFailure } from './command/failure.ts'
import { trainCommand } from './train.ts'

/** `quartet adapter train` as a process of its own, on a small random backbone. */

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

let folder: string
let env: NodeJS.ProcessEnv

const path = (name: string) => join(folder, name)
const exists = (name: string) =>
  stat(path(name)).then(
    () => true,
    () => false,
  )

const sha256Of = async (name: string) =>
  createHash('sha256')
    .update(await readFile(path(name)))
    .digest('hex')

const row = (i: number) =>
  JSON.stringify({ prompt: `hello world ${i}`, completion: i % 2 === 0 ? 'hello' : 'world' })
const jsonl = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `${row(from + i)}\n`).join('')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-train-'))
  vi.stubEnv('QUARTET_CACHE', path('cache'))
  env = { ...process.env }
  await writeGguf(path('tiny.gguf'))
  for (const weights of ['q8', 'f32'] as const)
    await importBackbone({
      path: path('tiny.gguf'),
      slug: 'tiny',
      weights,
      destination: openCache(env).backbone('tiny', weights),
      signal: new AbortController().signal,
      onProgress: () => {},
    })
  await writeFile(path('train.jsonl'), jsonl(0, 40))
  await writeFile(path('dev.jsonl'), jsonl(100, 110))
})

afterAll(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

/** One thread: a second one would only wait busily for a backbone as small as this. */
const words = (out: string, more: readonly string[]) => [
  ...['adapter', 'train', '--backbone', 'tiny', '--threads', '1', '--data', path('train.jsonl')],
  ...['--m', '4', '--batch', '8', '--out', path(out), ...more],
]

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function quartet(...args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout.trim(), stderr: stderr.trim() })
    })
  })
}

const train = (out: string, ...more: readonly string[]) => quartet(...words(out, more))

async function succeeds(out: string, ...more: readonly string[]): Promise<Outcome> {
  const outcome = await train(out, ...more)
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
  return outcome
}

/** Trains in this process, which is quicker. */
async function trainHere(out: string, ...more: readonly string[]): Promise<void> {
  using _stdout = silent(process.stdout)
  using _stderr = silent(process.stderr)
  await trainCommand().exitOverride().parseAsync(words(out, more).slice(2), { from: 'user' })
}

function silent(stream: NodeJS.WriteStream): Disposable {
  const write = vi.spyOn(stream, 'write').mockReturnValue(true)
  return { [Symbol.dispose]: () => write.mockRestore() }
}

/**
 * Runs the command with options that it refuses, and returns its message. It runs in this process, which is quicker.
 */
async function refusal(...more: readonly string[]): Promise<string> {
  const command = trainCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
  try {
    await command.parseAsync(words('refused.safetensors', more).slice(2), { from: 'user' })
  } catch (error) {
    return describeFailure(error)
  }
  throw new Error('it was not refused')
}

const dev = () => ['--dev', path('dev.jsonl')]

describe('from a file of examples to an adapter', () => {
  it('the loss falls, and the adapter says what it was trained on and how well', async () => {
    const { stdout, stderr } = await succeeds(
      'first.safetensors',
      ...dev(),
      '--steps',
      '40',
      '--rate',
      '1e-2',
    )
    expect(stdout).toMatch(/^[0-9a-f]{64}$/)
    expect(stderr).toMatch(/step 40\/40: loss/)
    const { metadata, provenance } = parseAdapterFile(await readFile(path('first.safetensors')))
    expect(metadata).toMatchObject({ kind: 'iapt', anchor: 'own', placement: 'late', m: 4, l_sp: 4 })
    expect(provenance).toMatchObject({
      'train.examples': '40',
      'train.dev_examples': '10',
      'train.seed': '0',
      'train.data': await sha256Of('train.jsonl'),
      'train.dev': await sha256Of('dev.jsonl'),
      'train.prompts': 'chat',
      'train.onnxruntime': expect.stringMatching(/^\d/),
    })
    expect(Number(provenance['train.dev_loss'])).toBeLessThan(Number(provenance['train.dev_loss_untuned']))
    const metrics = (await readFile(path('first.metrics.jsonl'), 'utf8')).trim().split('\n')
    const losses = metrics.map((line) => JSON.parse(line)).filter(({ type }) => type === 'step')
    expect(Object.keys(losses[0]).sort()).toEqual(
      ['gradientNorm', 'loss', 'rateFactor', 'step', 'tokens', 'tokensPerSecond', 'type'].sort(),
    )
    expect(losses).toHaveLength(40)
    expect(losses.at(-1).loss).toBeLessThan(losses[0].loss)
    expect(await readFile(path('first.loss.svg'), 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s)
    expect(await exists('first.checkpoint')).toBe(false)
    const inspected = await quartet('adapter', 'inspect', path('first.safetensors'))
    expect(inspected.stdout).toMatch(/^digest +[0-9a-f]{64}$/m)
    expect(inspected.stdout).toMatch(/^parameters +1568$/m)
    expect(inspected.stdout).toMatch(/^train.dev_loss +\d/m)
    expect(inspected.stdout).toMatch(/^layers.0…1.down +F16 +\[64, 4\]$/m)
    const seen = await quartet(
      ...[
        'adapter',
        'eval',
        path('first.safetensors'),
        '--data',
        path('train.jsonl'),
        '--choices',
        'hello,world',
      ],
      ...['--metrics', 'label-accuracy', '--limit', '6', '--labels', path('labels.jsonl'), '--threads', '1'],
    )
    expect(seen.stdout).toMatch(/^expected \\ chosen +hello +world$/m)
    expect(seen.stdout).not.toMatch(/loss per token/)
    expect((await readFile(path('labels.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(6)
    expect(seen.stderr).toMatch(/first.safetensors was trained on .*train.jsonl: its figures are too good/)
  })

  it('the same seed and optimiser give the same bytes, another one others', async () => {
    const run = async (name: string, ...more: readonly string[]) =>
      (await succeeds(`seed-${name}.safetensors`, '--steps', '5', ...more)).stdout
    const [first, again, other, adamw] = await Promise.all([
      run('3', '--seed', '3'),
      run('3-again', '--seed', '3'),
      run('4', '--seed', '4'),
      run('3-adamw', '--seed', '3', '--optimizer', 'adamw'),
    ])
    expect(again).toBe(first)
    expect(other).not.toBe(first)
    expect(adamw).not.toBe(first)
    const settingsOf = async (name: string) =>
      JSON.parse(
        parseAdapterFile(await readFile(path(`seed-${name}.safetensors`))).provenance['train.settings'] ?? '',
      )
    expect(await settingsOf('3')).toMatchObject({ optimizer: 'muon' })
    expect(await settingsOf('3-adamw')).toMatchObject({ optimizer: 'adamw' })
  })

  it('measures on the share that is asked for, and says so before it measures', async () => {
    const { stderr } = await succeeds(
      'split.safetensors',
      '--steps',
      '2',
      '--dev-share',
      '0.1',
      '--threads',
      '1',
    )
    expect(stderr).toContain('no --dev given: 4 of 40 examples are set apart to measure on')
    expect(stderr).toMatch(/measuring the untuned backbone on 4 dev examples, then training\n.*untuned/)
  })

  it('trains rows for newest turns on conversations, and the adapter goes on from there', async () => {
    const talk = (i: number) =>
      ['hello', 'world', `hello ${i}`, i % 2 === 0 ? 'hello' : 'world'].map((content, at) => ({
        role: at % 2 === 0 ? 'user' : 'assistant',
        content,
      }))
    const lines = Array.from({ length: 8 }, (_, i) => `${JSON.stringify({ messages: talk(i) })}\n`)
    await writeFile(path('talks.jsonl'), lines.join(''))
    const data = ['--data', path('talks.jsonl'), '--steps', '2']
    await trainHere('turn.safetensors', ...data, '--placement', 'turn', '--window', '20')
    const { metadata, provenance } = parseAdapterFile(await readFile(path('turn.safetensors')))
    expect(metadata).toMatchObject({ kind: 'iapt', placement: 'turn', window: 20 })
    expect(metadata.tail).toBeUndefined()
    expect(provenance).toMatchObject({ 'train.examples': '16' })
    await trainHere('turn-on.safetensors', ...data, '--init', path('turn.safetensors'))
    const { metadata: again } = parseAdapterFile(await readFile(path('turn-on.safetensors')))
    expect(again).toEqual(metadata)
    expect(await refusal('--placement', 'turn', '--kind', 'lpt')).toMatch(
      /--placement: rows of the placement turn are made anew in every layer/,
    )
  })

  it('trains on f32 weights as well, for the nodes that serve those', async () => {
    const out = 'f32.safetensors'
    await trainHere(out, '--steps', '2', '--weights', 'f32')
    const { metadata } = parseAdapterFile(await readFile(path(out)))
    const { manifest } = await openBackbone(openCache(env).backbone('tiny', 'f32'))
    expect(metadata.backbone_sha256).toBe(manifest.digest)
    const scored = await quartet('adapter', 'eval', path(out), '--data', path('dev.jsonl'))
    expect(scored.stdout).toMatch(/^loss per token +\d/m)
    expect(await refusal('--init', path(out))).toMatch(
      /is for the backbone .*choose its --backbone and --weights/,
    )
  })

  it('starts from the adapter of an earlier training, and from a text', async () => {
    await trainHere('rows.safetensors', '--steps', '2', '--kind', 'lpt', '--at', '0', '--rows', '3')
    await trainHere('rows-2.safetensors', '--steps', '2', '--init', path('rows.safetensors'))
    const { metadata: second } = parseAdapterFile(await readFile(path('rows-2.safetensors')))
    expect(second).toMatchObject({ kind: 'lpt', at: 0, l_sp: 3 })
    expect(await refusal('--init', path('rows.safetensors'), '--kind', 'iapt')).toMatch(
      /is an adapter of kind lpt and not iapt; leave --kind out/,
    )
    expect(await refusal('--init', path('rows.safetensors'), '--rational', 'bilevel')).toMatch(
      /--rational needs --activation rational/,
    )
    await trainHere('rational.safetensors', '--steps', '1', '--activation', 'rational')
    await trainHere(
      'bilevel.safetensors',
      ...['--steps', '1', '--init', path('rational.safetensors'), '--rational', 'bilevel'],
    )
    await trainHere('text.safetensors', '--steps', '2', '--init-text', 'hello world')
    const { metadata } = parseAdapterFile(await readFile(path('text.safetensors')))
    expect(metadata.l_sp).toBe(2)
  })
})

describe('a training that is cut off', () => {
  const settings = () => [...dev(), '--steps', '60', '--eval-every', '4', '--patience', '0']
  let whole: string
  let cutOff: Awaited<ReturnType<typeof cut>>

  beforeAll(async () => {
    whole = (await succeeds('whole.safetensors', ...settings())).stdout
    cutOff = await cut('ctrl-c.safetensors', 'SIGINT')
    await cp(path('ctrl-c.checkpoint'), path('changed.checkpoint'))
  })

  /** Runs until the second measurement, behind which the checkpoint of the first is whole, and ends it with a signal. */
  async function cut(out: string, signal: NodeJS.Signals): Promise<{ code: number | null; stderr: string }> {
    const child: ChildProcess = spawn(process.execPath, [main, ...words(out, settings())], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let stderr = ''
    let isSent = false
    child.stderr?.on('data', (part: Buffer) => {
      stderr += part.toString()
      if (isSent || !/step \d+\/60: dev loss.*step \d+\/60: dev loss/s.test(stderr)) return
      isSent = true
      setTimeout(() => child.kill(signal), 20)
    })
    const [code] = await once(child, 'close')
    return { code, stderr }
  }

  it('by Ctrl-C says how to go on, and ends with the bytes of one that was not', async () => {
    const { code, stderr } = cutOff
    expect(code).toBe(130)
    expect(stderr).toMatch(/stopped after step \d+; everything is in .*ctrl-c.checkpoint/)
    expect(stderr).toMatch(/go on with: npx quartet adapter train .* --resume/)
    expect(await exists('ctrl-c.safetensors')).toBe(false)
    const [, checkpoint = ''] =
      /take the adapter as it is with: npx quartet adapter export (\S+) --out/.exec(stderr) ?? []
    const inspected = await quartet('adapter', 'inspect', checkpoint)
    expect(inspected.stdout).toMatch(/^step +[1-9]\d*$/m)
    expect(inspected.stdout).toMatch(/^train.seed +0$/m)
    const exported = await quartet('adapter', 'export', checkpoint, '--out', path('so-far.safetensors'))
    expect(exported.stdout).toMatch(/^[0-9a-f]{64}$/)
    const { provenance } = parseAdapterFile(await readFile(path('so-far.safetensors')))
    expect(provenance).toMatchObject({
      'train.outcome': 'interrupted',
      'train.seed': '0',
      'train.dev_loss': expect.stringMatching(/^\d/),
    })
    expect(await refusal('--out', path('ctrl-c.safetensors'), ...settings())).toMatch(
      /unfinished training; go on with --resume, or start anew with --force/,
    )
    const resumed = await succeeds('ctrl-c.safetensors', ...settings(), '--resume')
    expect(resumed.stderr).toMatch(/going on from step \d+/)
    expect(resumed.stdout).toBe(whole)
    const metrics = (await readFile(path('ctrl-c.metrics.jsonl'), 'utf8')).trim().split('\n')
    expect(metrics.filter((line) => JSON.parse(line).type === 'step')).toHaveLength(60)
  })

  it('by kill -9 goes on from its last checkpoint to the same bytes, and leaves no finished file before', async () => {
    await cut('killed.safetensors', 'SIGKILL')
    expect(await exists('killed.safetensors')).toBe(false)
    expect((await succeeds('killed.safetensors', ...settings(), '--resume')).stdout).toBe(whole)
    expect((await readdir(folder)).filter((name) => name.includes('partial'))).toEqual([])
  })

  it('is not taken up with other data, other settings or nothing to go on from', async () => {
    const resume = (...more: string[]) =>
      refusal('--out', path('changed.safetensors'), ...settings(), '--resume', ...more)
    expect(await resume('--seed', '9', '--clip', '0.5')).toMatch(
      /another training: seed was 0 and is 9; clip was 1 and is 0.5; give what/,
    )
    expect(await resume('--prompts', 'raw')).toMatch(/another training: prompts was chat and is raw/)
    expect(await resume('--optimizer', 'adamw')).toMatch(/another training: optimizer was muon and is adamw/)
    await writeFile(path('train-2.jsonl'), jsonl(0, 41))
    expect(await resume('--data', path('train-2.jsonl'))).toMatch(/the training data was [0-9a-f]+ and is/)
    await writeFile(path('changed.checkpoint'), 'junk')
    expect(await resume()).toMatch(/the checkpoint cannot be used: .*train again without --resume/)
    expect(await refusal('--out', path('nothing.safetensors'), '--resume')).toMatch(
      /there is no checkpoint .*nothing.checkpoint to go on from/,
    )
  })
})

describe('one line says what is wrong when', () => {
  const refusals: Record<string, { more: () => string[]; says: RegExp }> = {
    'the file is not there': { more: () => ['--data', path('none.jsonl')], says: /no such file.*none.jsonl/ },
    'the file is a folder': {
      more: () => ['--data', folder],
      says: /it is a folder; name a JSONL file in it/,
    },
    'the file is empty': { more: () => ['--data', path('empty.jsonl')], says: /it is empty/ },
    'a line is wrong': {
      more: () => ['--data', path('wrong.jsonl')],
      says: /wrong.jsonl, line 2: completion: is empty/,
    },
    'there is one example': { more: () => ['--data', path('one.jsonl')], says: /one example; at least 2/ },
    'the dev file repeats the train file': {
      more: () => ['--dev', path('train.jsonl')],
      says: /40 of the 40 prompts in .* are in .* as well/,
    },
    'the backbone is not there': {
      more: () => ['--backbone', 'other'],
      says: /other \(q8\) is not on this machine; get it with quartet backbone import/,
    },
    'the folder is not there': {
      more: () => ['--out', path('none/a')],
      says: /none is not there; make it, or choose another --out/,
    },
    'a dry run is for an adapter that cannot be written': {
      more: () => ['--dry-run', '--out', folder],
      says: /--out .* is a folder; name a file in it/,
    },
    'a dry run is for an adapter in place of its examples': {
      more: () => ['--dry-run', '--out', path('train.jsonl')],
      says: /train.jsonl is read, and this training would write over it/,
    },
    'a text at the start is empty': { more: () => ['--init-text', ''], says: /^--init-text is empty$/ },
    'a file has no name': { more: () => ['--dev', ''], says: /^--dev is empty; name a file$/ },
    'the adapter is there already': {
      more: () => ['--out', path('there.safetensors')],
      says: /is there already; choose another --out, or replace it with --force/,
    },
    'an option is no number': { more: () => ['--rate', 'fast'], says: /--rate.*must be a number/ },
    'an option is below zero': { more: () => ['--m', '-1'], says: /--m.*'-1'.*without a sign/ },
    'an option is of another kind': { more: () => ['--kind', 'static'], says: /kind static has no m/ },
    'options exclude each other': { more: () => ['--epochs', '1', '--steps', '2'], says: /not both/ },
    'coefficients are trained apart and there are none': {
      more: () => ['--rational', 'bilevel', '--activation', 'relu'],
      says: /--rational needs --activation rational; leave it out/,
    },
    'examples to measure on come twice': {
      more: () => [...dev(), '--dev-share', '0.2'],
      says: /come from --dev or are set apart with --dev-share; give one/,
    },
    'the adapter to start from is for something else': {
      more: () => ['--init', path('train.jsonl')],
      says: /--init .*not a valid safetensors file.*; name an adapter file/,
    },
    'a text has more tokens than there are rows': {
      more: () => ['--init-text', 'hello world', '--rows', '1'],
      says: /2 tokens and the adapter 1 rows; give --rows 2/,
    },
  }

  beforeAll(async () => {
    await writeFile(path('empty.jsonl'), '')
    await writeFile(path('one.jsonl'), jsonl(0, 1))
    await writeFile(path('wrong.jsonl'), `${row(1)}\n{"prompt": "a", "completion": ""}\n${row(2)}\n`)
    await writeFile(path('there.safetensors'), '')
  })

  /** The backbone under another name, with another chat template. */
  async function withTemplate(slug: string, change: (template: string) => string): Promise<void> {
    const cache = openCache(env)
    const folder = cache.backbone(slug, 'q8')
    await cp(cache.backbone('tiny', 'q8'), folder, { recursive: true })
    const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'))
    const template = change(manifest.chat.template)
    expect(template).not.toBe(manifest.chat.template)
    const changed = { ...manifest, slug, chat: { ...manifest.chat, template } }
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(changed))
  }

  it('the backbone has no chat template, and prompts are to be conversations', async () => {
    await withTemplate('plain', () => '')
    for (const more of [[], ['--dry-run'], ['--init-text', 'hello world']])
      expect(await refusal('--backbone', 'plain', ...more)).toMatch(
        /plain has no chat template; give --prompts raw, and lines {"prompt", "completion"}/,
      )
  })

  it('rows are to be late and the chat template has no generation header', async () => {
    await withTemplate('headless', (template) => template.replace(/{% if add_generation_prompt %}.*$/, ''))
    const late = ['--backbone', 'headless', '--placement', 'late']
    for (const dry of [[], ['--dry-run']])
      expect(await refusal(...late, ...dry)).toMatch(
        /template has no generation header.*give another --placement/,
      )
  })

  it.each(Object.entries(refusals))('%s', async (_, { more, says }) => {
    expect(await refusal(...more())).toMatch(says)
  })

  it.each([[], ['--dry-run']])('the adapter to start from has another shape %j', async (...more) => {
    await trainHere('start.safetensors', '--steps', '1', '--force')
    expect(await refusal('--init', path('start.safetensors'), '--m', '9', ...more)).toMatch(
      /the adapter to start from has m = 4 and this training 9/,
    )
  })

  it('an adapter of other weights is no start by itself, and says how to train it on', async () => {
    await trainHere('eight.safetensors', '--steps', '1', '--force')
    const init = ['--init', path('eight.safetensors'), '--weights', 'f32']
    expect(await refusal(...init)).toMatch(/carry it over with quartet adapter port/)
    const { code, stderr } = await quartet(
      ...['adapter', 'port', path('eight.safetensors'), '--to', 'tiny', '--weights', 'f32', '--steps', '1'],
      ...['--data', path('train.jsonl'), '--batch', '8', '--optimizer', 'adamw', '--force'],
      ...['--out', path('ported.safetensors')],
    )
    expect({ code, stderr }).toMatchObject({ code: 0 })
    const digest = async (name: string) =>
      parseAdapterFile(new Uint8Array(await readFile(path(name)))).metadata
    const [before, after] = [await digest('eight.safetensors'), await digest('ported.safetensors')]
    const exact = await openBackbone(openCache(env).backbone('tiny', 'f32'))
    expect(after).toEqual({ ...before, backbone_sha256: exact.manifest.digest })
  })

  it.each([[], ['--dry-run']])('bi-level training has too few examples %j', async (...more) => {
    await writeFile(path('two.jsonl'), jsonl(0, 2))
    const bilevel = ['--activation', 'rational', '--rational', 'bilevel', '--dev-share', '0.5']
    expect(await refusal('--data', path('two.jsonl'), ...bilevel, ...more)).toMatch(
      /bi-level training needs two/,
    )
    expect(await exists('refused.metrics.jsonl')).toBe(false)
  })

  it('a checkpoint finds no room, with the curve so far and no adapter', async () => {
    const args = words('cramped.safetensors', ['--steps', '12', '--eval-every', '6', ...dev()])
    const limited = 'ulimit -f 16 && exec "$0" "$@"'
    const child = spawn('sh', ['-c', limited, process.execPath, main, ...args], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const said = text(child.stderr)
    const [code] = await once(child, 'close')
    expect(code).toBe(1)
    expect(await said).toMatch(/ulimit -f\): .*cramped.checkpoint could not be written; free some space/)
    expect(await readFile(path('cramped.loss.svg'), 'utf8')).toMatch(/<polyline/)
    const left = (await readdir(folder)).filter((name) => name.startsWith('cramped'))
    expect(left.sort()).toEqual(['cramped.loss.svg', 'cramped.metrics.jsonl'])
  })

  it('and the command ends with status 1 and that line', async () => {
    const { code, stdout, stderr } = await train('refused.safetensors', '--data', path('empty.jsonl'))
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^quartet: .*empty.jsonl: it is empty; write one JSON object per line$/)
  })

  it('a dry run says what two files share before it refuses them', async () => {
    const { code, stdout, stderr } = await train('dry.safetensors', '--dev', path('train.jsonl'), '--dry-run')
    expect(code).toBe(1)
    expect(stdout).toMatch(/40 to measure on, 40 of these with a prompt that is trained on/)
    expect(stderr).toMatch(/^quartet: 40 of the 40 prompts in .*give other examples with --dev/)
  })

  it('a dry run says how many steps and epochs, which labels, and about how long', async () => {
    const { code, stdout } = await quartet(...words('dry.safetensors', ['--dry-run']))
    expect(code).toBe(0)
    expect(stdout).toMatch(/^hello +20$/m)
    expect(stdout).toMatch(/^world +20$/m)
    expect(stdout).toMatch(/^100 steps of 8 examples, 20\.0 epochs$/m)
    expect(stdout).toMatch(/^about [\d:]+ on this machine$/m)
  })

  it('a dry run counts an epoch’s last step as the part of a batch that it reads', async () => {
    const { stdout } = await quartet(...words('dry.safetensors', ['--dry-run', '--batch', '16']))
    expect(stdout).toMatch(/^60 steps of 16 examples, 20\.0 epochs$/m)
  })

  it('a dry run lists every line that cannot be used', async () => {
    await writeFile(path('bad.jsonl'), `${row(1)}\n[]\n${row(2)}\nnonsense\n${row(1)}\n`)
    const { code, stdout, stderr } = await train('dry.safetensors', '--data', path('bad.jsonl'), '--dry-run')
    expect(code).toBe(1)
    expect(stdout).toMatch(/examples that repeat another +1/)
    expect(stderr).toMatch(/line 2: it is a list.*\n.*line 4: it is not JSON.*\n.*2 lines cannot be used/)
    expect(await exists('dry.safetensors')).toBe(false)
  })
})
