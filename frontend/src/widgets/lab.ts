import Experiment from '../views/lab/Experiment.svelte';
import Sheet from '../views/lab/PanelSheet.svelte';
import Verdict from '../views/lab/Check.svelte';
import { afm } from './afm.svelte';

export default afm({ experiment: Experiment, panels: Sheet, check: Verdict });
