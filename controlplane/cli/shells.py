"""The verb `completion`: scripts with which bash, zsh and fish complete `controlplane`, and `cp` besides its files.

Each script runs `controlplane __complete WORDS…` (complete.py) and shows the lines of its output: a candidate, a tab
and a description. After `:files` or `:folders` the shell completes paths itself. The verbs are written into the
scripts, so that completing a file name of `cp` starts no program.
"""

from __future__ import annotations

from controlplane.cli.render import say_all
from controlplane.cli.verbs.tree import first_words

_BASH = """\
# bash: . <(controlplane completion bash)
_controlplane_ask() {
    local program=$1 word rest
    while IFS=$'\\t' read -r word rest; do
        case $word in
            :files) compopt -o default ;;
            :folders) compopt -o dirnames ;;
            ?*) COMPREPLY+=("$word") ;;
        esac
    done < <(command "$program" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

_controlplane() {
    COMPREPLY=()
    _controlplane_ask "$1"
}

# cp is coreutils' own, except when its first word is a verb of controlplane and not a file.
_controlplane_cp() {
    local verbs='VERBS' cur=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 1 ] && [ ! -e "${COMP_WORDS[1]}" ] && [[ " $verbs " == *" ${COMP_WORDS[1]} "* ]]; then
        _controlplane_ask controlplane
        return
    fi
    compopt -o default -o filenames
    if [ "$COMP_CWORD" -eq 1 ] && [[ $cur != -* && $cur != */* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur"; compgen -f -- "$cur")
    elif declare -F _comp_complete_longopt >/dev/null; then
        _comp_complete_longopt "$@"
    elif declare -F _longopt >/dev/null; then
        _longopt "$@"
    fi
}

complete -F _controlplane controlplane
complete -F _controlplane_cp cp
"""

_ZSH = """\
#compdef controlplane
# zsh: put this into a folder of $fpath as _controlplane, or: . <(controlplane completion zsh)
_controlplane() {
    local -a candidates
    local line word
    for line in "${(@f)$(command controlplane __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :files) _files; return ;;
            :folders) _files -/; return ;;
            ?*) word=${line%%$'\\t'*}; candidates+=("${word//:/\\\\:}:${line#*$'\\t'}") ;;
        esac
    done
    (( $#candidates )) && _describe -t words controlplane candidates
}

# cp is coreutils' own, except when its first word is a verb of controlplane and not a file.
_controlplane_cp() {
    local -a verbs
    verbs=(VERBS)
    if (( CURRENT > 2 )) && [[ ! -e ${words[2]} ]] && (( ${verbs[(Ie)${words[2]}]} )); then
        _controlplane
        return
    fi
    (( CURRENT == 2 )) && [[ ${words[2]} != */* ]] && compadd -a verbs
    if (( $+functions[_cp] )); then _cp; else _files; fi
}

if [ "${funcstack[1]-}" = _controlplane ]; then
    _controlplane "$@"
else
    compdef _controlplane controlplane
    autoload -Uz +X _cp 2>/dev/null
    compdef _controlplane_cp cp
fi
"""

_FISH = """\
# fish: controlplane completion fish | source
function __controlplane_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (command controlplane __complete $words[2..-1] 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (commandline -ct)
            case :folders
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end

# cp is coreutils' own, except when its first word is a verb of controlplane and not a file.
function __controlplane_is_verb
    set -l words (commandline -opc)
    test (count $words) -gt 1; and not test -e $words[2]; and contains -- $words[2] VERBS
end

complete -c controlplane -f -a '(__controlplane_complete)'
complete -c cp -n '__controlplane_is_verb' -a '(__controlplane_complete)'
complete -c cp -n 'test (count (commandline -opc)) -eq 1' -a 'VERBS'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(shell: str) -> None:
    """Print the script with which a shell completes `controlplane` and `cp`."""
    say_all(script(shell).splitlines())


def script(shell: str) -> str:
    """Return a shell's script."""
    return SCRIPTS[shell].replace("VERBS", " ".join(first_words()))
