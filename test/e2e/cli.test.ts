import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clientOf, stack } from './shared-stack.ts'

/** The `quartet` command against the running stack: from a new tenant to an answer through its own adapter. */

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function quartet(...words: readonly string[]): Promise<Outcome> {
  const env = { ...process.env, QUARTET_HOME: stack.home }
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...words], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout.trim(), stderr: stderr.trim() })
    })
  })
}

async function succeeds(...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await quartet(...words)
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) })
  return stdout
}

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-cli-'))
})

afterAll(() => rm(folder, { recursive: true }))

describe('a new tenant', () => {
  let key: string

  it('is created, once', async () => {
    expect(await succeeds('tenant', 'create', 'acme')).toBe('acme')
    expect(await succeeds('tenant', 'list')).toContain('acme')
    const again = await quartet('tenant', 'create', 'acme')
    expect(again.code).toBe(1)
    expect(again.stderr).toMatch(/^quartet: the tenant acme exists already$/)
  })

  it('gets a key that works, and shows up without its secret', async () => {
    key = await succeeds('key', 'create', 'acme', '--name', 'test')
    const ids = (await clientOf(key).models.list()).data.map(({ id }) => id)
    expect(ids).toEqual([stack.backbone])
    const shown = await succeeds('tenant', 'show', 'acme')
    expect(shown).toMatch(/key_[0-9a-z]{12} {2}test/)
    expect(shown).not.toContain(key)
  })

  it('compiles a text, publishes it and asks it: the answer is that of the text in front', async () => {
    const text = 'Question: What is the capital of Italy?\nAnswer: Rome.\n'
    const prompt = 'Question: What is the capital of Spain?\nAnswer:'
    const file = join(folder, 'facts.safetensors')
    const digest = await succeeds('adapter', 'compile', '--text', text, '--out', file)
    expect(JSON.parse(await succeeds('adapter', 'inspect', '--json', file))).toMatchObject({
      digest,
      kind: 'static',
      precision: 'f32',
      backbone: stack.backbone,
    })
    expect(await succeeds('adapter', 'publish', file, '--tenant', 'acme', '--alias', 'facts')).toBe(digest)

    const ask = async (asked: { model: string; prompt: string }) => {
      const options = { temperature: 0, max_tokens: 24 }
      return (await clientOf(key).completions.create({ ...asked, ...options })).choices[0]?.text
    }
    const tuned = await ask({ model: 'facts', prompt })
    expect(tuned).toBe(await ask({ model: stack.backbone, prompt: text + prompt }))
    expect(tuned).not.toBe(await ask({ model: stack.backbone, prompt }))
  })

  it('moves an alias to another adapter and back', async () => {
    const compile = (text: string) =>
      succeeds('adapter', 'compile', '--text', text, '--publish', 'acme', '--alias', 'tone')
    const first = await compile('You are terse.')
    const second = await compile('You are verbose.')
    expect(second).not.toBe(first)
    await succeeds('alias', 'set', 'acme', 'tone', first)
    expect(await succeeds('tenant', 'show', 'acme')).toMatch(new RegExp(`tone +${first}`))
  })

  it('loses a key that is revoked', async () => {
    const id = /key_[0-9a-z]{12}/.exec(await succeeds('tenant', 'show', 'acme'))?.[0] ?? ''
    await succeeds('key', 'revoke', 'acme', id)
    await expect
      .poll(
        () =>
          clientOf(key)
            .models.list()
            .then(
              () => 'works',
              (error: Error) => error.message,
            ),
        {
          timeout: 10_000,
          interval: 500,
        },
      )
      .toMatch(/unknown, revoked or expired/)
  })
})

describe('one line says what is wrong when', () => {
  const refusals: Record<string, { words: readonly string[]; says: RegExp }> = {
    'a tenant id is no such thing': {
      words: ['tenant', 'create', 'Not A Slug'],
      says: /a tenant id has 1 to 64 of a-z/,
    },
    'a tenant is unknown': { words: ['key', 'create', 'nobody'], says: /no such tenant/ },
    'an adapter is not the tenant’s': {
      words: ['alias', 'set', 'treasure-island', 'x', '0'.repeat(64)],
      says: /this tenant has no adapter 0{64}; upload it first/,
    },
    'nothing says what to compile': {
      words: ['adapter', 'compile', '--out', 'x'],
      says: /exactly one of --text, --text-file, --system and --messages/,
    },
    'nothing says where an adapter goes': {
      words: ['adapter', 'compile', '--text', 'x'],
      says: /--out FILE, --publish TENANT or both/,
    },
    'a text is too long': {
      words: ['adapter', 'compile', '--text', 'word '.repeat(600), '--out', 'x'],
      says: /the text has 60\d tokens; a compiled text for this backbone has 1 to 512/,
    },
    'a file is not there': {
      words: ['adapter', 'inspect', 'nowhere'],
      says: /no such file or folder \(nowhere\)/,
    },
    'an edge is not there': {
      words: ['tenant', 'list', '--edge', 'http://127.0.0.1:9'],
      says: /set QUARTET_ADMIN_KEY/,
    },
    'a port is none': { words: ['start', '--edge-port', '99999'], says: /from 1 to 65535/ },
    'nodes would need ports that there are not': {
      words: ['start', '--node-port', '65535', '--nodes', '3'],
      says: /a --node-port of at most 65533/,
    },
    'an edge has no scheme': {
      words: ['tenant', 'list', '--edge', 'localhost:26000'],
      says: /write http:\/\/localhost:26000/,
    },
    'a command is mistyped': { words: ['tenat'], says: /unknown command 'tenat'.*tenant/s },
  }

  it.each(Object.entries(refusals))('%s', async (_name, { words, says }) => {
    const { code, stdout, stderr } = await quartet(...words)
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).toMatch(says)
    expect(stderr).toMatch(/^quartet: /m)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  it('a file is no adapter, and publishes nothing', async () => {
    const file = join(folder, 'broken.safetensors')
    await writeFile(file, 'not an adapter at all')
    const { code, stderr } = await quartet('adapter', 'publish', file, '--tenant', 'acme')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^quartet: .*broken.safetensors: not a valid safetensors file/)
  })

  it('an adapter is for another backbone', async () => {
    const file = join(folder, 'other.safetensors')
    await succeeds('adapter', 'compile', '--text', 'Hello.', '--out', file)
    const bytes = await readFile(file)
    const digest =
      /"backbone_sha256":"([0-9a-f]{64})"/.exec(bytes.subarray(0, 4096).toString('latin1'))?.[1] ?? ''
    const at = bytes.indexOf(digest)
    bytes.write('0'.repeat(64), at)
    await writeFile(file, bytes)
    const { code, stderr } = await quartet('adapter', 'publish', file, '--tenant', 'acme')
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^quartet: the adapter is for the weights 000000000000 of smollm2.*quartet adapter port FILE --to smollm2/,
    )
  })
})
