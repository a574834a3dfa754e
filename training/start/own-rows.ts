import type { AdapterMetadata } from '../../shared/adapter-file.ts'

/**
 * The tensors that alone are an adapter's rows until it is trained, so that rows may start as a text, as noise or at
 * another scale: its own anchors, or the rows of `static` without an anchor beside them. Undefined where rows come
 * from the generator or are added to the backbone's anchor.
 */
export function ownRows({ anchor, kind }: Pick<AdapterMetadata, 'anchor' | 'kind'>): OwnRows | undefined {
  if (anchor === 'own') return 'anchor'
  return anchor === 'none' && kind === 'static' ? 'static' : undefined
}

export type OwnRows = 'anchor' | 'static'
