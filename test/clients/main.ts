import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { version } from '../../shared/version.ts'
import { freePorts, localState, quartetStart, stop, untilReady } from '../e2e/quartet-start.ts'
import { type Client, clients } from './clients.ts'
import { install } from './install.ts'

/**
 * `npm run clients [-- NAME…]`: installs the clients that people use, each in a folder of its own, runs each unchanged
 * against a fresh local stack with the real model, and writes which of its features work into docs/compatibility.md. It needs the package registries, so that `npm test` leaves it out.
 */

const root = join(import.meta.dirname, '../..')
const page = join(root, 'docs/compatibility.md')
/** Installed clients stay here from run to run. */
const installed = process.env.QUARTET_CLIENTS ?? join(tmpdir(), 'quartet-clients')
const patienceMs = 15 * 60_000

const Line = z.object({
  feature: z.string(),
  ok: z.boolean(),
  note: z.string().optional(),
  message: z.string().optional(),
})
type Line = z.infer<typeof Line>

const named = process.argv.slice(2)
const chosen = clients.filter(({ name }) => named.length === 0 || named.includes(name))
if (chosen.length === 0)
  throw new Error(`no such client; there are: ${clients.map(({ name }) => name).join(', ')}`)

const home = await mkdtemp(join(tmpdir(), 'quartet-clients-home-'))
const started = quartetStart({ home, ports: await freePorts() })
const results = new Map<Client, readonly Line[]>()
try {
  await untilReady(started)
  const { backbone, edge, tenants } = await localState(home)
  const alias = 'pirate'
  const key = tenants.find(({ aliases }) => aliases.some((each) => each === alias))?.key
  if (key === undefined) throw new Error(`no demo tenant has the alias ${alias}`)
  for (const client of chosen) {
    const lines = await tried(client, {
      EDGE: edge,
      KEY: key,
      ALIAS: alias,
      BACKBONE: backbone,
      QUARTET_ROOT: root,
    })
    results.set(client, lines)
    process.stdout.write(`\n${tableOf(client, lines)}\n`)
  }
} finally {
  await stop(started)
  await rm(home, { recursive: true, force: true })
}
await writeFile(page, pageOf(await sectionsWith(results)))
if ([...results.values()].flat().some(({ ok }) => !ok)) process.exitCode = 1

async function tried(client: Client, env: Record<string, string>): Promise<readonly Line[]> {
  try {
    process.stderr.write(`${client.name}: installing\n`)
    const { command, folder, words } = await install(client, installed)
    process.stderr.write(`${client.name}: running\n`)
    const { stdout } = await promisify(execFile)(command, [...words], {
      cwd: folder,
      env: { ...process.env, ...env },
      timeout: patienceMs,
      maxBuffer: 2 ** 24,
    })
    return stdout.split('\n').flatMap((line) => (line.startsWith('{') ? [Line.parse(JSON.parse(line))] : []))
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown)
    return [{ feature: 'runs at all', ok: false, message }]
  }
}

function tableOf({ name, packages }: Client, lines: readonly Line[]): string {
  const versions = Object.entries(packages).map(([of, exact]) => `${of} ${exact}`)
  const rows = lines.map(
    ({ feature, message, note, ok }) =>
      `| ${feature} | ${ok ? 'works' : `**fails**: ${plain(message ?? '')}`}${note === undefined ? '' : `: ${note}`} |`,
  )
  return [`## ${name}`, '', versions.join(', '), '', '| | |', '|---|---|', ...rows].join('\n')
}

function plain(message: string): string {
  return message.replaceAll(/[\s|]+/g, ' ').slice(0, 200)
}

/** The sections of the page by client: those of clients that were tried now are new, the others as they were. */
async function sectionsWith(tried: ReadonlyMap<Client, readonly Line[]>): Promise<readonly string[]> {
  const before = (await readFile(page, 'utf8').catch(() => '')).split(/^(?=## )/m).slice(1)
  return clients.flatMap((client) => {
    const lines = tried.get(client)
    if (lines !== undefined) return [tableOf(client, lines)]
    return before
      .filter((section) => section.startsWith(`## ${client.name}\n`))
      .map((section) => section.trim())
  })
}

function pageOf(sections: readonly string[]): string {
  const uses = sections.join('\n').match(/^\| .+ \| (?:works|\*\*fails)/gm) ?? []
  const working = uses.filter((use) => use.endsWith('works')).length
  return `# Compatibility

\`npm run clients\` installed these clients from their registries, each in a folder of its own, and ran them unchanged against a
fresh \`npm start\` with SmolLM2-135M-Instruct, at Quartet ${version}; this page is what it wrote last. ${working} of ${uses.length} uses work. A use works when the client itself takes
the answer: its parser, its types, its classes of errors. Whether a model of 135 million parameters answers well is not asked;
where the form of an answer matters, the client demands it by schema or by a function that must be called.

lm-evaluation-harness is told of the key twice, by \`OPENAI_API_KEY\` and by \`auth_token\` in \`--model_args\`, with which it reads the
tokenizer (\`/tokenizer_info\`, \`/tokenize\`). LangChain's \`OpenAIEmbeddings\` needs \`check_embedding_ctx_length=False\`, as for every server but
OpenAI's: it sends token ids of OpenAI's tokenizer otherwise. Modes of clients that demand no schema of the server (JSON
mode, JSON in Markdown) leave it to the model whether its answer fits.

${sections.join('\n\n')}
`
}
