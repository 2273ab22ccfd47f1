"""Rollouts as they are stored: conversion to and from records and documents."""
