import { readFile } from 'node:fs/promises'
import { Command, Option } from 'commander'
import { z } from 'zod'
import { parseAdapterFile } from '../shared/adapter-file.ts'
import { sha256Hex } from '../shared/digest.ts'
import { AdapterDigest, AliasName, BackboneSlug, TenantId } from '../shared/ids.ts'
import { type AdapterSource, Messages } from './adapter-source.ts'
import { addEdgeOption, adminOf } from './admin-access.ts'
import { parsedBy } from './argument.ts'
import { CliFailure } from './failure.ts'
import { writeFileAtomically } from './local/atomic-file.ts'
import { requireBackbone } from './local/local-backbone.ts'
import { note, print, printJson, printTable } from './output.ts'
import { defaultBackbone } from './settings.ts'

export function adapterCommand(): Command {
  return new Command('adapter')
    .description('adapter files')
    .addCommand(compileCommand())
    .addCommand(inspectCommand())
    .addCommand(publishCommand())
}

const CompileOptions = z
  .object({
    text: z.string().min(1).optional(),
    textFile: z.string().optional(),
    system: z.string().min(1).optional(),
    messages: z.string().optional(),
    backbone: BackboneSlug,
    precision: z.enum(['f32', 'f16']),
    out: z.string().optional(),
    publish: TenantId.optional(),
    alias: AliasName.optional(),
  })
  .refine(
    ({ text, textFile, system, messages }) =>
      [text, textFile, system, messages].filter((given) => given !== undefined).length === 1,
    'give the text by exactly one of --text, --text-file, --system and --messages',
  )
  .refine(
    ({ out, publish }) => out !== undefined || publish !== undefined,
    'say where the adapter goes: --out FILE, --publish TENANT or both',
  )
  .refine(({ alias, publish }) => alias === undefined || publish !== undefined, '--alias needs --publish')
type CompileOptions = z.infer<typeof CompileOptions>

function compileCommand(): Command {
  const command = new Command('compile')
    .description('compile a text into an adapter that acts as if the text stood in front of every prompt')
    .option('--text <text>', 'the text itself')
    .option('--text-file <file>', 'a file with the text')
    .option('--system <text>', 'a system message, written by the chat template')
    .option('--messages <file>', 'a JSON file of chat messages (a system message, examples)')
    .addOption(
      new Option('--backbone <slug>', 'the backbone it is for')
        .default(defaultBackbone)
        .argParser(parsedBy(BackboneSlug)),
    )
    .addOption(
      new Option('--precision <type>', 'f32 is exact; f16 takes half the space and changes answers a little')
        .choices(['f32', 'f16'])
        .default('f32'),
    )
    .option('--out <file>', 'where to write the adapter')
    .addOption(new Option('--publish <tenant>', 'also publish it to a tenant').argParser(parsedBy(TenantId)))
    .addOption(
      new Option('--alias <alias>', 'with --publish: let this alias name it').argParser(parsedBy(AliasName)),
    )
  return addEdgeOption(command).action(async (_options, self: Command) => {
    const options = parseOptions(CompileOptions, self)
    const source = await sourceOf(options)
    const backbone = await requireBackbone(options.backbone)
    const { compileAdapter } = await import('./compile.ts')
    const compiled = await compileAdapter(backbone, { source, precision: options.precision })
    note(`${compiled.rows} prompt rows, ${compiled.bytes.length} bytes`)
    if (options.out !== undefined)
      await writeFileAtomically(options.out, { data: compiled.bytes, mode: 0o644 })
    if (options.publish !== undefined)
      await publish(self, { tenant: options.publish, alias: options.alias, ...compiled })
    print(compiled.digest)
  })
}

async function sourceOf({ text, textFile, system, messages }: CompileOptions): Promise<AdapterSource> {
  if (system !== undefined) return { kind: 'messages', messages: [{ role: 'system', content: system }] }
  if (messages !== undefined) return { kind: 'messages', messages: await readMessages(messages) }
  if (textFile !== undefined) return { kind: 'text', text: await readFile(textFile, 'utf8') }
  return { kind: 'text', text: text ?? '' }
}

export async function readMessages(file: string | URL): Promise<Messages> {
  const text = await readFile(file, 'utf8')
  try {
    return Messages.parse(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : 'it is not JSON'
    throw new CliFailure(`${file} is not a list of chat messages: ${reason}`, {
      remedy: 'write [{"role": "system", "content": "…"}, …]',
      cause,
    })
  }
}

function inspectCommand(): Command {
  return new Command('inspect')
    .description('check an adapter file and say what is in it')
    .argument('<file>', 'the adapter')
    .option('--json', 'as JSON')
    .action(async (file: string, options: { json?: true }) => {
      const bytes = new Uint8Array(await readFile(file))
      const { metadata, provenance } = parseAdapterFile(bytes)
      const description = {
        digest: await sha256Hex(bytes),
        bytes: bytes.length,
        ...metadata,
        ...provenance,
      }
      if (options.json) printJson(description)
      else
        printTable(
          ['property', 'value'],
          Object.entries(description).map(([name, value]) => [name, String(value)]),
        )
    })
}

const PublishOptions = z.object({ tenant: TenantId, alias: AliasName.optional() })

function publishCommand(): Command {
  const command = new Command('publish')
    .description("store an adapter among a tenant's own, and let an alias name it")
    .argument('<file>', 'the adapter')
    .addOption(
      new Option('--tenant <tenant>', 'whose adapter it is')
        .makeOptionMandatory()
        .argParser(parsedBy(TenantId)),
    )
    .addOption(new Option('--alias <alias>', 'let this alias name it').argParser(parsedBy(AliasName)))
  return addEdgeOption(command).action(async (file: string, _options, self: Command) => {
    const { tenant, alias } = parseOptions(PublishOptions, self)
    const bytes = new Uint8Array(await readFile(file))
    parseAdapterFile(bytes)
    const digest = AdapterDigest.parse(await sha256Hex(bytes))
    await publish(self, { tenant, alias, digest, bytes })
    print(digest)
  })
}

interface Publication {
  readonly tenant: TenantId
  readonly alias: AliasName | undefined
  readonly digest: AdapterDigest
  readonly bytes: Uint8Array<ArrayBuffer>
}

async function publish(command: Command, { tenant, alias, digest, bytes }: Publication): Promise<void> {
  const admin = await adminOf(command)
  await admin.putAdapter(tenant, { digest, bytes })
  if (alias === undefined) return note(`${tenant} has the adapter; name it with quartet alias set`)
  await admin.setAlias(tenant, { alias, digest })
  note(`${tenant}: ${alias} is ${digest}`)
}

function parseOptions<T>(schema: z.ZodType<T>, command: Command): T {
  const parsed = schema.safeParse(command.opts())
  if (parsed.success) return parsed.data
  throw new CliFailure(parsed.error.issues[0]?.message ?? 'the options do not fit together')
}
