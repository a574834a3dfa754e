import { Command, Option } from 'commander'
import { z } from 'zod'
import { prefillWeights } from '../model/runtime/prefill-weights.ts'
import { WeightFormat } from '../shared/backbone.ts'
import { AliasName, BackboneSlug, TenantId } from '../shared/ids.ts'
import { addEdgeOption } from './access/admin-access.ts'
import { parsedBy } from './command/argument.ts'
import { CliFailure } from './command/failure.ts'
import { readNamedText } from './command/named-file.ts'
import { note, print } from './command/output.ts'
import { assertAbsent, assertNotRead, assertWritable } from './command/output-file.ts'
import { parseOptions } from './command/parse-options.ts'
import { defaultBackbone, prefillWeightsOption, weightsOption } from './command/settings.ts'
import { type AdapterSource, Messages } from './compile/messages.ts'
import { evalCommand } from './eval.ts'
import { exportCommand } from './export.ts'
import { inspectCommand } from './inspect.ts'
import { writeFileAtomically } from './local/atomic-file.ts'
import { requireBackbone } from './local/local-backbone.ts'
import { portCommand } from './port.ts'
import { deleteCommand, listCommand, publish, publishCommand } from './publish.ts'
import { trainCommand } from './train.ts'

export function adapterCommand(): Command {
  return new Command('adapter')
    .description('adapter files, and those that a tenant has')
    .addCommand(compileCommand())
    .addCommand(trainCommand())
    .addCommand(portCommand())
    .addCommand(exportCommand())
    .addCommand(evalCommand())
    .addCommand(inspectCommand())
    .addCommand(publishCommand())
    .addCommand(listCommand())
    .addCommand(deleteCommand())
}

const CompileOptions = z
  .object({
    text: z.string().min(1, 'is empty').optional(),
    textFile: z.string().min(1, 'is empty; name a file').optional(),
    system: z.string().min(1, 'is empty').optional(),
    messages: z.string().min(1, 'is empty; name a file').optional(),
    backbone: BackboneSlug,
    weights: WeightFormat,
    precision: z.enum(['f32', 'f16']),
    prefillWeights: z.enum(prefillWeights).optional(),
    out: z.string().optional(),
    force: z.boolean().default(false),
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
    .addOption(weightsOption('which of its forms: the one that will serve the adapter'))
    .addOption(
      new Option('--precision <type>', 'f32 is exact; f16 takes half the space and changes answers a little')
        .choices(['f32', 'f16'])
        .default('f32'),
    )
    .addOption(prefillWeightsOption())
    .option('--out <file>', 'where to write the adapter')
    .option('--force', 'replace the file that is there')
    .addOption(new Option('--publish <tenant>', 'also publish it to a tenant').argParser(parsedBy(TenantId)))
    .addOption(
      new Option('--alias <alias>', 'with --publish: let this alias name it').argParser(parsedBy(AliasName)),
    )
  return addEdgeOption(command).action(async (_options, self: Command) => {
    const options = parseOptions(CompileOptions, self)
    if (options.out !== undefined) await assertReplaceable(options.out, options)
    const source = await sourceOf(options)
    const backbone = await requireBackbone(options.backbone, options.weights)
    const { compileAdapter } = await import('./compile/compile.ts')
    const { precision, prefillWeights } = options
    const compiled = await compileAdapter(backbone, { source, precision, prefillWeights })
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
  if (textFile !== undefined) return { kind: 'text', text: await readNamedText(textFile) }
  return { kind: 'text', text: text ?? '' }
}

async function readMessages(file: string): Promise<Messages> {
  const text = await readNamedText(file)
  try {
    return Messages.parse(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? firstProblem(cause) : 'it is not JSON'
    throw new CliFailure(`${file} is not a list of chat messages: ${reason}`, {
      remedy: 'write [{"role": "system", "content": "…"}, …]',
      cause,
    })
  }
}

function firstProblem({ issues: [issue] }: z.ZodError): string {
  const [at, ...inner] = issue?.path ?? []
  return `${typeof at === 'number' ? `message ${at + 1}: ` : ''}${inner.join('.')} ${issue?.message}`.trim()
}

/** A compiled text is soon made again. What it would be written over may be an adapter that took hours to train. */
async function assertReplaceable(path: string, { force, messages, textFile }: CompileOptions): Promise<void> {
  const out = { option: '--out', path }
  await assertWritable(out)
  assertNotRead(out, [messages, textFile])
  if (!force) await assertAbsent(out)
}
